use super::*;

/// Asks a server that answers with so many bytes to whatever arrives, through the relay. Gives how many came.
fn through(bytes: usize) -> (usize, Duration) {
    let server = TcpListener::bind("127.0.0.1:0").expect("server");
    let address = server.local_addr().expect("address");
    thread::spawn(move || {
        let (mut connection, _) = server.accept().expect("connection");
        let mut request = [0; 1];
        connection.read_exact(&mut request).expect("request");
        connection.write_all(&vec![7; bytes]).expect("answer");
    });
    let listener = TcpListener::bind("127.0.0.1:0").expect("relay");
    let front = listener.local_addr().expect("address");
    thread::spawn(move || relay(&listener, address));
    let start = Instant::now();
    let mut connection = TcpStream::connect(front).expect("connection");
    connection.write_all(b"x").expect("request");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("answer");
    (answer.len(), start.elapsed())
}

#[test]
fn an_answer_is_late() {
    let (count, took) = through(1);
    assert!(count == 1 && took >= DELAY, "{took:?}");
}

#[test]
fn bytes_take_their_time() {
    let (count, took) = through(12_500_000);
    // A tenth of a second's worth, less the slack.
    assert!(count == 12_500_000 && took >= Duration::from_millis(110), "{count} after {took:?}");
}
