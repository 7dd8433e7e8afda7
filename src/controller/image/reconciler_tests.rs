use kube::core::{Status, response::StatusSummary};

use super::*;

#[test]
fn what_an_administrator_has_to_allow_first_is_not_asked_for_every_few_seconds() {
    for (code, expected) in [(403, FORBIDDEN), (422, GATHER), (500, GATHER)] {
        let status = Status { status: Some(StatusSummary::Failure), code, ..Status::default() };
        assert_eq!(retry_delay(&kube::Error::Api(Box::new(status))), expected, "{code}");
    }
}
