use std::{
    future::{pending, ready},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::*;

fn tasks() -> (Tasks, Ends, CancellationToken) {
    let shutdown = CancellationToken::new();
    let (tasks, ends) = Tasks::new(shutdown.clone());
    (tasks, ends, shutdown)
}

/// Whether nothing is heard although all tasks had their turn: time stands still until they all wait.
async fn silent(ends: &mut Ends) -> bool {
    timeout(Duration::from_secs(1), ends.next()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_is_named_with_how_it_ended() {
    let (tasks, mut ends, _) = tasks();
    tasks.keep("watch", ready(()));
    assert!(ends.next().await.to_string().starts_with("the task \"watch\" returned; the process ends"));
    tasks.keep("well", ready(Ok::<(), anyhow::Error>(())));
    assert!(ends.next().await.to_string().contains("\"well\" returned"));
    tasks.keep("server", ready(Err::<(), _>(anyhow::anyhow!("port").context("failed to serve"))));
    assert!(ends.next().await.to_string().contains("\"server\" failed: failed to serve: port"));
    tasks.keep::<()>("observer", async { panic!("no claim {}", 7) });
    assert!(ends.next().await.to_string().contains("\"observer\" panicked: no claim 7"));
    tasks.once("signals", async { panic!("bug") });
    assert!(ends.next().await.to_string().contains("\"signals\" panicked: bug"));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_lives_or_has_done_its_work_is_not_heard_of() {
    let (tasks, mut ends, _) = tasks();
    tasks.keep("watch", pending::<()>());
    let (done, seen) = oneshot::channel();
    tasks.once("short", async move { done.send(()).unwrap() });
    seen.await.unwrap();
    assert!(silent(&mut ends).await);
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_tasks_may_end_but_not_panic() {
    let (tasks, mut ends, shutdown) = tasks();
    shutdown.cancel();
    tasks.keep("watch", ready(()));
    assert!(silent(&mut ends).await);
    tasks.keep::<()>("observer", async { panic!("bug") });
    assert_eq!(ends.next().await.name, "observer");
}

#[tokio::test(start_paused = true)]
async fn no_task_at_all_is_no_end() {
    let (first, mut ends, _) = tasks();
    drop(first);
    assert!(silent(&mut ends).await);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_are_stopped_go_on_with_nothing_and_are_not_heard_of() {
    let (tasks, mut ends, _) = tasks();
    let (alive, gone) = oneshot::channel::<()>();
    tasks.keep("writer", async move {
        pending::<()>().await;
        drop(alive);
    });
    ends.stop();
    let dropped = timeout(Duration::from_secs(1), gone).await.expect("the task goes on");
    assert!(dropped.is_err(), "the task was dropped, and its end of the channel with it");
    tasks.keep::<()>("late", async { panic!("it was started after the stop") });
    assert!(silent(&mut ends).await);
}
