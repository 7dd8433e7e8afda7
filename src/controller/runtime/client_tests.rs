//! Time stands still here until everybody waits: minutes of silence cost nothing.

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use super::*;

async fn server() -> (Client, TcpListener) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (Client::try_from(bounded(Config::new(url.parse().unwrap()))).unwrap(), listener)
}

/// Takes one request.
async fn request(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = vec![0; 4096];
    assert!(stream.read(&mut request).await.unwrap() > 0);
    stream
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let (client, listener) = server().await;
    let begun = Instant::now();
    let (answer, _open) = tokio::join!(client.apiserver_version(), request(&listener));
    answer.unwrap_err();
    let waited = begun.elapsed();
    assert!((READ..READ + CONNECT).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_lives_on_bookmarks_and_dies_of_silence() {
    const BOOKMARK: &str =
        r#"{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"7"}}}"#;
    let (client, listener) = server().await;
    let serve = async {
        let mut stream = request(&listener).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..4 {
            // As the API server sends them; see READ.
            sleep(Duration::from_mins(1)).await;
            let line = format!("{BOOKMARK}\n");
            stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await.unwrap();
        }
        (stream, Instant::now())
    };
    let watch = async {
        let api: Api<ConfigMap> = Api::all(client);
        let mut events = api.watch(&WatchParams::default(), "1").await.unwrap().boxed();
        for _ in 0..4 {
            assert!(matches!(events.next().await, Some(Ok(WatchEvent::Bookmark(_)))));
        }
        assert!(matches!(events.next().await, Some(Err(_))), "the watch outlives its connection");
        Instant::now()
    };
    let ((_open, silent_since), died) = tokio::join!(serve, watch);
    let waited = died.duration_since(silent_since);
    assert!((READ..READ + CONNECT).contains(&waited), "{waited:?}");
}
