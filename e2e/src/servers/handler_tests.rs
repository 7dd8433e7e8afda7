use super::*;

fn server() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("disk.img"), b"0123456789").expect("a file");
    let server = Server::new(Source::Files(dir.path().to_path_buf()), None);
    (dir, server)
}

async fn get(server: &Server, headers: &[(&str, &str)]) -> Response<Body> {
    let builder = headers.iter().fold(Request::get("/disk.img"), |builder, (k, v)| builder.header(*k, *v));
    server.answer(builder.body(Body::empty()).expect("a request")).await
}

async fn body(response: Response<Body>) -> Result<Vec<u8>, axum::Error> {
    axum::body::to_bytes(response.into_body(), usize::MAX).await.map(|bytes| bytes.to_vec())
}

#[tokio::test]
async fn a_cut_body_ends_in_an_error_and_is_counted_as_sent() {
    let (_dir, server) = server();
    server.faults.set("/disk.img", Fault { cut_at: Some(4), times: Some(1), ..Fault::default() });
    let response = get(&server, &[]).await;
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "10");
    assert!(body(response).await.is_err());
    assert_eq!(body(get(&server, &[("range", "bytes=4-")]).await).await.expect("whole"), b"456789");
    let count = &server.counts.below("/disk.img")["/disk.img"];
    assert_eq!((count.requests, count.bytes, count.open), (2, 10, 0));
    assert_eq!(count.log[1].range.as_deref(), Some("bytes=4-"));
    assert_eq!((count.log[0].bytes, count.log[1].bytes), (4, 6));
}

#[tokio::test]
async fn a_truncated_body_looks_whole() {
    let (_dir, server) = server();
    server.faults.set("/disk.img", Fault { truncate_at: Some(4), ..Fault::default() });
    let response = get(&server, &[]).await;
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "4");
    assert_eq!(body(response).await.expect("looks whole"), b"0123");
}

#[tokio::test]
async fn one_byte_is_corrupted() {
    let (_dir, server) = server();
    server.faults.set("/disk.img", Fault { corrupt_at: Some(3), ..Fault::default() });
    assert_eq!(body(get(&server, &[]).await).await.expect("a body"), b"012\xcc456789");
}

#[tokio::test]
async fn a_held_body_goes_on_when_released() {
    let (_dir, server) = server();
    server.faults.set("/disk.img", Fault { hold_at: Some(5), ..Fault::default() });
    let response = get(&server, &[]).await;
    let reader = tokio::spawn(body(response));
    while server.counts.below("/disk.img")["/disk.img"].held == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.counts.below("/disk.img")["/disk.img"].bytes, 5);
    assert!(server.faults.release("/disk.img"));
    assert_eq!(reader.await.expect("joined").expect("a body"), b"0123456789");
    assert_eq!(server.counts.below("/disk.img")["/disk.img"].held, 0);
}

#[tokio::test]
async fn credentials_are_asked_for_and_compared() {
    let (_dir, server) = server();
    let auth = Auth::Basic { username: "u".to_owned(), password: "p".to_owned() };
    server.faults.set("/disk.img", Fault { auth: Some(auth), ..Fault::default() });
    let refused = get(&server, &[]).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], "Basic realm=\"vmdisk\"");
    assert_eq!(get(&server, &[("authorization", "Basic dTpw")]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn redirections_and_statuses_replace_the_answer() {
    let (_dir, server) = server();
    server.faults.set("/disk.img", Fault { redirect: Some("https://other/x".to_owned()), ..Fault::default() });
    let response = get(&server, &[]).await;
    assert_eq!(
        (response.status(), &response.headers()[header::LOCATION]),
        (StatusCode::FOUND, &"https://other/x".parse().expect("a value"))
    );
    let busy = Fault { status: Some(503), retry_after: Some("7".to_owned()), times: Some(1), ..Fault::default() };
    server.faults.set("/disk.img", busy);
    let response = get(&server, &[]).await;
    assert_eq!(
        (response.status(), &response.headers()[header::RETRY_AFTER]),
        (StatusCode::SERVICE_UNAVAILABLE, &"7".parse().expect("a value"))
    );
    assert_eq!(get(&server, &[]).await.status(), StatusCode::OK);
}
