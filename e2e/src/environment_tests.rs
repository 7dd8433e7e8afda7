use super::*;
use crate::command::cmd;

#[test]
fn a_shell_and_we_read_the_same() {
    let mut environment = Environment::default();
    environment.set("PLAIN", "/a/b");
    environment.set("ODD", "it's $HOME and \"quotes\"");
    environment.set("PATH", "/tools");
    assert_eq!(Environment::parse(&environment.to_shell()), environment);
    let script = format!("{}echo \"$ODD\"; echo \"$PATH\"", environment.to_shell());
    let output = cmd("/bin/sh").args(["-c", &script]).env("PATH", "/usr/bin").output().expect("a shell");
    assert_eq!(output, "it's $HOME and \"quotes\"\n/tools:/usr/bin\n");
}
