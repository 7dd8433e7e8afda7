use std::io::Read as _;

use super::*;

#[test]
fn requests_follow_each_other_on_a_connection() {
    let mut bytes: &[u8] = b"GET /a HTTP/1.1\r\nRange: bytes=1-2\r\nIf-Match: \"x\"\r\n\r\nHEAD /b HTTP/1.1\r\n\r\n";
    let first = Request::read(&mut bytes).expect("read").expect("a request");
    assert_eq!(
        (first.path.as_str(), first.range.as_deref(), first.if_match.as_deref()),
        ("/a", Some("bytes=1-2"), Some("\"x\""))
    );
    assert_eq!(Request::read(&mut bytes).expect("read").expect("a request").method, "HEAD");
    assert_eq!(Request::read(&mut bytes).expect("read"), None);
}

#[test]
fn no_path_leaves_the_root() {
    let root = Path::new("/root");
    assert_eq!(locate(root, "/../etc/passwd"), None);
    assert_eq!(locate(root, "/v2/bench/x/blobs/sha256:ab?y"), Some(root.join("v2/bench/x/blobs/sha256/ab")));
}

#[test]
fn parts_of_files_are_sent() {
    let dir = tempfile::tempdir().expect("directory");
    std::fs::write(dir.path().join("file"), "0123456789").expect("file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
    let address = listener.local_addr().expect("address");
    let root = dir.path().to_owned();
    thread::spawn(move || serve(&listener, &root));
    let ask = |request: &str| {
        let mut connection = TcpStream::connect(address).expect("connection");
        connection.write_all(request.as_bytes()).expect("request");
        connection.shutdown(std::net::Shutdown::Write).expect("shutdown");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("answer");
        answer
    };
    let part = ask("GET /file HTTP/1.1\r\nRange: bytes=2-4\r\n\r\n");
    assert!(part.starts_with("HTTP/1.1 206 ") && part.contains("Content-Range: bytes 2-4/10\r\n"), "{part}");
    assert!(part.ends_with("\r\n\r\n234"), "{part}");
    assert!(ask("GET /file HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n0123456789"));
    assert!(ask("GET /file HTTP/1.1\r\nIf-Match: \"other\"\r\n\r\n").starts_with("HTTP/1.1 412 "));
    assert!(ask("GET /none HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(ask("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
}
