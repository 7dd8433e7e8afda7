//! What an attempt finds in its volume and must not believe, or not for long.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use vmdisk_wire::Job;

use crate::block::assert_device;
use crate::device::Loop;
use crate::killed::{completed, killed_at, recorded, recorded_on};
use crate::server::{Resource, Server};
use crate::support::{Bench, assert_disk, digest, noise};
use crate::{block, jobs};

const SIZE: usize = 40 << 20;

/// When a worker is killed: behind a record, whatever is on its way.
const KILLED: u64 = 30 << 20;

/// So slow that a record comes before [`KILLED`].
const RATE: u64 = 16 << 20;

/// A volume of either mode, and the job for it.
struct Volume {
    job: Job,
    device: Option<Loop>,
    target: PathBuf,
}

impl Volume {
    fn directory(bench: &Bench, server: &Server) -> Self {
        Self { job: jobs::job(bench, server, "/d"), device: None, target: bench.path("target") }
    }

    fn device(bench: &Bench, server: &Server) -> Self {
        let device = Loop::dirty(bench, SIZE + (1 << 20), &[]);
        Self { job: block::job(server, "/d", &device.device), target: device.device.clone(), device: Some(device) }
    }

    /// Has a worker killed that leaves a record. How much that vouches for.
    fn killed(&mut self, bench: &Bench, server: &Server) -> u64 {
        let kept = self.killed_at(KILLED, |kept| kept > 0, bench, server);
        assert!(kept > 0);
        kept
    }

    /// Has a worker killed that got so many bytes, when what it has recorded of them satisfies `ready`. How much that is.
    fn killed_at(&mut self, bytes: u64, ready: impl Fn(u64) -> bool, bench: &Bench, server: &Server) -> u64 {
        self.job.limits.bandwidth_bytes_per_second = Some(RATE);
        killed_at(bytes, || ready(self.recorded()), bench, server, &self.job);
        self.job.limits.bandwidth_bytes_per_second = None;
        self.recorded()
    }

    fn recorded(&self) -> u64 {
        self.device.as_ref().map_or_else(|| recorded(&self.target), recorded_on)
    }

    /// What holds the unfinished disk.
    fn part(&self) -> PathBuf {
        if self.device.is_some() { self.target.clone() } else { self.target.join("disk.img.part") }
    }

    #[track_caller]
    fn assert_holds(&self, disk: &[u8]) {
        match &self.device {
            Some(device) => assert_device(device, disk),
            None => assert_disk(&self.target.join("disk.img"), disk),
        }
    }
}

/// Does `test` with a volume of each mode, and a disk that is served.
fn each_mode(test: impl Fn(Volume, &Bench, &Server, &[u8])) {
    let disk = noise(SIZE, 1);
    for volume in [Volume::directory, Volume::device] {
        let (bench, server) = (Bench::new(), Server::start());
        server.put("/d", tagged(&disk, "\"a\""));
        test(volume(&bench, &server), &bench, &server, &disk);
    }
}

fn tagged(disk: &[u8], tag: &str) -> Resource {
    Resource { body: disk.to_vec().into(), etag: Some(tag.into()), ..Resource::default() }
}

#[test]
fn what_bears_the_name_of_another_claim_is_not_believed() {
    each_mode(|mut volume, bench, server, disk| {
        for claim_uid in [Some("another".to_owned()), None] {
            volume.killed(bench, server);
            let mut job = volume.job.clone();
            job.target.as_mut().unwrap().claim_uid = claim_uid;
            assert_eq!(completed(bench, server, &job), SIZE as u64, "all of it");
            volume.assert_holds(disk);
        }
    });
}

#[test]
fn an_image_that_changed_and_changed_back_goes_on_with_nothing_of_the_other() {
    each_mode(|mut volume, bench, server, disk| {
        volume.killed(bench, server);
        server.put("/d", tagged(&noise(SIZE, 2), "\"b\""));
        // Far from a record of its own.
        assert_eq!(volume.killed_at(12 << 20, |_| true, bench, server), 0, "what was vouched for is overwritten");
        server.put("/d", tagged(disk, "\"a\""));
        assert_eq!(completed(bench, server, &volume.job), SIZE as u64, "all of it");
        volume.assert_holds(disk);
    });
}

#[test]
fn a_volume_that_lost_what_it_was_given_is_filled_again() {
    each_mode(|mut volume, bench, server, disk| {
        volume.job.source.checksum = Some(digest(&ring::digest::SHA256, disk));
        let kept = volume.killed(bench, server);
        flip(&volume.part(), kept / 2);
        let paid = completed(bench, server, &volume.job);
        assert_eq!(paid, SIZE as u64 - kept + SIZE as u64, "the rest, and then all of it");
        volume.assert_holds(disk);
    });
}

#[test]
fn a_worker_that_was_killed_when_all_was_there_is_followed_by_one_that_asks_for_little() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = noise(SIZE, 1);
    server.put("/d", tagged(&disk, "\"a\""));
    let mut volume = Volume::directory(&bench, &server);
    volume.killed(&bench, &server);
    std::fs::write(volume.part(), &disk).unwrap();
    let record = volume.target.join("disk.img.part.json");
    let mut all: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    all["bytes"] = SIZE.into();
    std::fs::write(&record, all.to_string()).unwrap();
    assert_eq!(completed(&bench, &server, &volume.job), 64 << 10, "no server answers for nothing");
    volume.assert_holds(&disk);
}

#[test]
fn a_record_of_the_last_moment_gives_way_to_the_disk() {
    let (bench, server) = (Bench::new(), Server::start());
    // The first record is due with the last sector (which might be the footer of a vhd), in the place of the disk's end.
    let disk = noise((16 << 20) + 512, 1);
    let device = Loop::dirty(&bench, disk.len(), &[]);
    server.put("/d", tagged(&disk, "\"a\""));
    bench.job(&block::job(&server, "/d", &device.device)).done();
    assert_device(&device, &disk);
}

fn flip(path: &Path, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    file.sync_all().unwrap();
}
