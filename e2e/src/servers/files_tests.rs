use axum::http::Request;

use super::*;

fn request(headers: &[(&str, &str)]) -> Parts {
    let builder = headers.iter().fold(Request::get("/disk.img"), |builder, (k, v)| builder.header(*k, *v));
    builder.body(()).expect("a request").into_parts().0
}

async fn body(response: Response<Body>) -> Vec<u8> {
    axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body").to_vec()
}

fn root() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("disk.img"), b"0123456789").expect("a file");
    dir
}

#[tokio::test]
async fn a_part_is_sent_only_of_the_version_that_the_client_knows() {
    let dir = root();
    let none = Fault::default();
    let whole = answer(dir.path(), &request(&[]), &none).await;
    let etag = whole.headers()[header::ETAG].to_str().expect("text").to_owned();
    assert_eq!(body(whole).await, b"0123456789");

    let same = answer(dir.path(), &request(&[("range", "bytes=7-"), ("if-range", &etag)]), &none).await;
    assert_eq!(same.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(same.headers()[header::CONTENT_RANGE], "bytes 7-9/10");
    assert_eq!(body(same).await, b"789");

    let other = answer(dir.path(), &request(&[("range", "bytes=7-"), ("if-range", "\"other\"")]), &none).await;
    assert_eq!(other.status(), StatusCode::OK);

    let failed = answer(dir.path(), &request(&[("range", "bytes=7-"), ("if-match", "\"other\"")]), &none).await;
    assert_eq!(failed.status(), StatusCode::PRECONDITION_FAILED);
}

#[tokio::test]
async fn a_server_without_ranges_sends_everything() {
    let dir = root();
    let fault = Fault { no_ranges: true, ..Fault::default() };
    let response = answer(dir.path(), &request(&[("range", "bytes=7-")]), &fault).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key(header::ACCEPT_RANGES));
    assert_eq!(body(response).await.len(), 10);
}

#[tokio::test]
async fn nothing_outside_the_root_is_served() {
    let dir = root();
    for path in ["/../secret", "/a/../../secret", "/%2e%2e/secret", "//etc/passwd"] {
        let located = locate(dir.path(), path);
        assert!(located.is_none_or(|found| found.starts_with(dir.path())), "{path}");
    }
}
