use super::*;

const MIB: usize = 1 << 20;

/// What happens to a blob.
#[derive(Clone, Copy)]
enum Step {
    Fetch(usize),
    Make(usize),
    Deliver(usize),
}
use Step::{Deliver, Fetch, Make};

/// How far the steps, over and over, come in `rounds`; all the way, when that is nowhere refused.
fn rounds(room: usize, steps: &[Step], rounds: usize) -> Result<(), (usize, String)> {
    let budget = Budget::new(room as u64);
    let mut account = Account::new(&budget);
    (0..rounds).try_for_each(|round| {
        for step in steps {
            match *step {
                Fetch(bytes) => budget.fetch(bytes),
                Make(bytes) => account.make(bytes),
                Deliver(bytes) => budget.deliver(bytes),
            }
            account.check().map_err(|failure| (round, failure.message))?;
        }
        Ok(())
    })
}

#[test]
fn what_is_honest_goes_on_for_ever() {
    for (what, steps) in [
        ("a disk of zeros", &[Fetch(1), Make(MIB), Deliver(MIB)][..]),
        ("a hole in an archive that was not compressed", &[Deliver(MIB)]),
        ("files", &[Fetch(MIB), Make(50 * MIB)]),
        ("another disk, mostly holes, now in long runs", &[Fetch(MIB), Make(200 * MIB)]),
        ("a long run, then data that pays for it", &[Make(200 * MIB), Fetch(MIB), Make(MIB)]),
        ("nothing of size", &[Fetch(MIB), Make(MIB), Deliver(MIB), Make(512)]),
    ] {
        assert_eq!(rounds(100_000 * MIB, steps, 100_000), Ok(()), "{what}");
    }
}

#[test]
fn what_is_made_for_nothing_ends_with_the_credit() {
    for (what, room, steps, expected) in [
        ("zeros beside a small disk", MIB, &[Make(MIB)][..], 64),
        ("zeros beside a large disk", 1000 * MIB, &[Make(MIB)], 1000),
        ("zeros that pay for half of themselves", MIB, &[Make(MIB), Fetch(MIB / 512)], 127),
        // The first 300 are the disk.
        ("an image larger than the disk", 300 * MIB, &[Make(MIB), Deliver(MIB)], 600),
    ] {
        let (round, message) = rounds(room, steps, 2000).expect_err(what);
        assert_eq!(round, expected, "{what}: {message}");
    }
}

#[test]
fn nothing_is_saved_up() {
    let budget = Budget::new(0);
    let mut account = Account::new(&budget);
    budget.fetch(1000 * MIB);
    account.check().unwrap();
    budget.enter("notes.txt, which is not the disk,".into());
    account.make(64 * MIB);
    budget.fetch(1024);
    account.check().unwrap();
    account.make(MIB);
    assert_eq!(
        account.check().unwrap_err().message,
        "notes.txt, which is not the disk, unpacks to more than 65Mi beside the disk from 1Ki fetched, \
         expected at most 64Mi and 256 times what is fetched; upload the disk image by itself"
    );
}
