use super::*;

#[test]
fn a_fault_with_times_heals_itself() {
    let faults = Faults::default();
    faults.set("/a", Fault { status: Some(503), times: Some(2), ..Fault::default() });
    let met: Vec<Option<u16>> = (0..3).map(|_| faults.meet("/a").fault.status).collect();
    assert_eq!(met, [Some(503), Some(503), None]);
    assert_eq!(faults.meet("/b").fault, Fault::default());
}

#[tokio::test]
async fn removing_a_fault_releases_who_it_holds() {
    let faults = Faults::default();
    faults.set("/a", Fault { hold: true, ..Fault::default() });
    let met = faults.meet("/a");
    assert!(faults.remove("/a"));
    met.released().await;
}

#[tokio::test]
async fn a_released_fault_holds_nobody() {
    let faults = Faults::default();
    faults.set("/a", Fault { hold: true, ..Fault::default() });
    assert!(faults.release("/a"));
    faults.meet("/a").released().await;
    assert!(!faults.release("/b"));
}

#[test]
fn faults_are_written_as_a_person_would() {
    let fault: Fault = serde_json::from_str(r#"{"auth":{"bearer":"t"},"cut_at":5}"#).expect("a fault");
    assert_eq!(fault.auth, Some(Auth::Bearer("t".to_owned())));
    assert!(serde_json::from_str::<Fault>(r#"{"cutt_at":5}"#).is_err(), "a misspelt fault is no fault");
}
