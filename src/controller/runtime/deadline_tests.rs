use std::future::{pending, ready};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_ends_and_says_so() {
    let error = within(pending::<Result<(), kube::Error>>()).await.unwrap_err();
    assert!(matches!(error, kube::Error::Service(_)), "{error:?}");
    assert!(error.to_string().contains("did not answer within 30s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_passed_on_as_it_is() {
    assert_eq!(within(ready(Ok(7))).await.unwrap(), 7);
    let slow = async {
        tokio::time::sleep(REQUEST.mul_f64(0.9)).await;
        Err::<(), _>(kube::Error::LinesCodecMaxLineLengthExceeded)
    };
    assert!(matches!(within(slow).await, Err(kube::Error::LinesCodecMaxLineLengthExceeded)));
}
