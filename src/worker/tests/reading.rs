//! Reading an object as the pipeline does, without a disk behind it: ranges, connections, interruptions, and what is
//! paid for them.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use url::Url;
use vmdisk_worker::failure::{Failure, Reason};
use vmdisk_worker::http::{Anonymous, Body, Client, Object, Options};
use vmdisk_worker::policy::Policy;
use vmdisk_worker::progress::Counters;

use crate::server::{Fault, IfMatch, Resource, Server};
use crate::support::noise;

const SIZE: usize = 9 << 20;

/// The silence that no server of these tests keeps by itself, on a machine that is busy with other things.
const PATIENT: Duration = Duration::from_mins(2);

/// For a server that is silent for good: what a busy machine makes of it costs one more request and no byte.
const IMPATIENT: Duration = Duration::from_millis(300);

/// So quick to try again that no test waits.
fn options(idle_timeout: Duration) -> Options {
    Options { idle_timeout, delays: (Duration::from_millis(1), Duration::from_millis(2)), ..Options::default() }
}

fn object(url: &str, idle_timeout: Duration) -> Object {
    // The tests link two users of rustls; the worker's own binary installs the provider itself.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new(Arc::new(Policy::by_hand()), options(idle_timeout), None).unwrap();
    let url = Url::parse(url).unwrap();
    let origin = url.origin();
    Object::new(client, url, Arc::new(Anonymous), origin)
}

/// What reading came to: the bytes, or the failure; and how many were paid.
struct Read {
    bytes: Result<Vec<u8>, Failure>,
    paid: u64,
}

impl Read {
    /// Asserts that it is `expected` and that each byte was paid once.
    #[track_caller]
    fn is(self, expected: &[u8]) {
        let bytes = self.bytes.unwrap();
        assert!(bytes == expected, "{} bytes, and others", bytes.len());
        assert_eq!(self.paid, expected.len() as u64, "each byte is paid once");
    }

    #[track_caller]
    fn failed(self, reason: Reason, text: &str) {
        let failure = self.bytes.unwrap_err();
        assert_eq!(failure.reason, reason, "{failure}");
        assert!(failure.message.contains(text), "{failure}");
    }
}

/// Reads all of what is at `url`, and waits for `pause` after each piece.
fn read_slowly(url: &str, pause: Option<Duration>) -> Read {
    read_from(object(url, PATIENT), pause)
}

fn read_from(object: Object, pause: Option<Duration>) -> Read {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counters = Counters::default();
    let bytes = runtime.block_on(async {
        let mut body = Body::open(object, 0, counters.clone()).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await? {
            bytes.extend_from_slice(&chunk);
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
        Ok(bytes)
    });
    Read { bytes, paid: counters.fetched() }
}

fn read(url: &str) -> Read {
    read_slowly(url, None)
}

fn tagged(body: &[u8], faults: impl IntoIterator<Item = Fault>) -> Resource {
    Resource {
        body: body.to_vec().into(),
        etag: Some("\"a\"".into()),
        faults: faults.into_iter().collect(),
        ..Resource::default()
    }
}

fn ranges(server: &Server, path: &str) -> Vec<String> {
    server.seen(path).iter().map(|seen| seen.header("range").to_owned()).collect()
}

#[test]
fn ranges_grow_and_no_byte_is_asked_for_twice() {
    for size in [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, SIZE, 70 << 20] {
        let server = Server::start();
        let bytes = noise(size, 1);
        server.put("/d", tagged(&bytes, []));
        read(&server.url("/d")).is(&bytes);
        let mut next = 0;
        let mut asked: Vec<(u64, u64)> = ranges(&server, "/d")
            .iter()
            .map(|range| {
                let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                (first.parse().unwrap(), last.parse().unwrap())
            })
            .collect();
        asked.sort_unstable();
        for (first, last) in asked {
            assert_eq!(first, next, "{:?}", ranges(&server, "/d"));
            next = last + 1;
        }
        assert!(next >= size as u64);
    }
}

#[test]
fn an_empty_object_has_no_range_and_is_read() {
    let server = Server::start();
    server.put("/d", tagged(b"", []));
    read(&server.url("/d")).is(b"");
}

#[test]
fn a_server_that_is_slow_for_each_connection_is_read_by_several() {
    let server = Server::start();
    let bytes = noise(40 << 20, 1);
    // So slow that a busy machine does not hide what another connection brings.
    server.put("/d", Resource { bytes_per_second: Some(4 << 20), ..tagged(&bytes, []) });
    read(&server.url("/d")).is(&bytes);
    // A third is opened only when two were clearly faster than one.
    assert!((3..=6).contains(&server.most_open()), "{} connections", server.most_open());
}

#[test]
fn a_reader_that_pauses_stops_all_connections_within_a_bound() {
    let server = Server::start();
    let bytes = noise(96 << 20, 1);
    server.put("/d", Resource { bytes_per_second: Some(8 << 20), ..tagged(&bytes, []) });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counters = Counters::default();
    runtime.block_on(async {
        let mut body = Body::open(object(&server.url("/d"), PATIENT), 0, counters.clone()).await.unwrap();
        let mut position = 0;
        while server.most_open() < 4 {
            position += body.next().await.unwrap().unwrap().len() as u64;
        }
        // Until nothing comes any more.
        let mut before = 0;
        while counters.fetched() > before {
            before = counters.fetched();
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        let held = counters.fetched() - position;
        assert!((1..=24 << 20).contains(&held), "{held} bytes are held in memory");
        // And it goes on.
        let mut rest = 0;
        while let Some(chunk) = body.next().await.unwrap() {
            assert!(chunk == bytes[usize::try_from(position).unwrap()..][..chunk.len()]);
            position += chunk.len() as u64;
            rest += chunk.len();
        }
        assert!(rest > 0 && position == bytes.len() as u64 && counters.fetched() == position);
    });
}

#[test]
fn a_slow_reader_gets_one_connection_and_is_no_silent_server() {
    let server = Server::start();
    let bytes = noise(32 << 20, 1);
    server.put("/d", tagged(&bytes, []));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counters = Counters::default();
    let silence = Duration::from_secs(2);
    runtime.block_on(async {
        let mut body = Body::open(object(&server.url("/d"), silence), 0, counters.clone()).await.unwrap();
        let mut position = 0;
        let mut rest = true;
        while let Some(chunk) = body.next().await.unwrap() {
            assert!(chunk == bytes[position..position + chunk.len()]);
            position += chunk.len();
            let held = counters.fetched() - position as u64;
            assert_eq!(held, 0, "what nobody wants yet stays in the sockets");
            // Once, for longer than a server may be silent; otherwise so long that what a busy machine adds to the
            // server's time does not make the reader the faster side.
            let pause = if std::mem::take(&mut rest) { silence * 2 } else { Duration::from_millis(10) };
            tokio::time::sleep(pause).await;
        }
        assert_eq!(position, bytes.len());
    });
    assert!(server.most_open() <= 2, "{}: one that is read, one that waits", server.most_open());
}

#[test]
fn whoever_stops_early_has_paid_little() {
    let server = Server::start();
    server.put("/d", tagged(&noise(64 << 20, 1), []));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counters = Counters::default();
    runtime.block_on(async {
        let mut body = Body::open(object(&server.url("/d"), PATIENT), 0, counters.clone()).await.unwrap();
        body.next().await.unwrap().unwrap();
    });
    assert_eq!(ranges(&server, "/d"), ["bytes=0-1048575"]);
}

#[test]
fn what_happens_in_the_middle_costs_nothing() {
    let bytes = noise(SIZE, 1);
    let at = 5_000_000;
    let headers = |name, value: &str| vec![(name, value.to_owned())];
    let date = "Fri, 31 Dec 1999 23:59:59 GMT";
    for (name, faults) in [
        ("reset", vec![Fault::Cut(at)]),
        ("silence", vec![Fault::Stall(at)]),
        ("short body", vec![Fault::Short(at)]),
        ("too many requests, seconds", vec![Fault::AnswerFrom(at, 429, headers("retry-after", "0"))]),
        ("too many requests, date", vec![Fault::AnswerFrom(at, 429, headers("retry-after", date))]),
        ("server errors", [500, 502, 503, 504].map(|status| Fault::AnswerFrom(at, status, Vec::new())).into()),
        ("another range", vec![Fault::Shift(at, 1), Fault::Shift(at, 4096)]),
        ("odd answers", vec![Fault::AnswerFrom(at, 400, Vec::new())]),
        ("all of it", vec![Fault::Cut(at), Fault::Stall(at), Fault::Short(at), Fault::Cut(at)]),
    ] {
        let silent = faults.iter().any(|fault| matches!(fault, Fault::Stall(_)));
        let server = Server::start();
        server.put("/d", tagged(&bytes, faults));
        println!("{name}");
        let object = object(&server.url("/d"), if silent { IMPATIENT } else { PATIENT });
        read_from(object, None).is(&bytes);
    }
}

#[test]
fn what_does_not_pass_is_told() {
    let bytes = noise(SIZE, 1);
    let at = 5_000_000;
    let headers = |name, value: &str| vec![(name, value.to_owned())];
    for (faults, reason, text) in [
        (vec![Fault::AnswerFrom(at, 404, Vec::new())], Reason::NotFound, "404"),
        (vec![Fault::AnswerFrom(at, 401, Vec::new())], Reason::Unauthorized, "401"),
        (vec![Fault::AnswerFrom(at, 412, Vec::new()); 2], Reason::SourceChanged, "412"),
        (vec![Fault::AnswerFrom(at, 429, headers("retry-after", "3600"))], Reason::Throttled, "429"),
        (vec![Fault::Shift(at, 1); 20], Reason::BadResponse, "instead of the bytes="),
        (vec![Fault::Shift(0, 1)], Reason::BadResponse, "answered with the range bytes 1-"),
        (vec![Fault::Cut(at); 20], Reason::Connection, ""),
        (vec![Fault::CutAndReplace(at, noise(SIZE, 2).into(), "\"b\"".into())], Reason::SourceChanged, "412"),
        (vec![Fault::CutAndReplace(at, noise(SIZE - 1, 1).into(), "\"a\"".into())], Reason::SourceChanged, "bytes"),
    ] {
        let server = Server::start();
        server.put("/d", tagged(&bytes, faults));
        let read = read(&server.url("/d"));
        assert!(read.paid <= SIZE as u64, "{} bytes were paid", read.paid);
        read.failed(reason, text);
    }
}

#[test]
fn answers_with_less_than_the_range_are_taken_as_they_are() {
    let server = Server::start();
    let bytes = noise(SIZE, 1);
    server.put("/d", Resource { most: Some(300_000), ..tagged(&bytes, []) });
    read(&server.url("/d")).is(&bytes);
}

#[test]
fn a_server_that_misreads_if_match_is_bound_by_the_tags_of_its_answers() {
    let server = Server::start();
    let bytes = noise(SIZE, 1);
    let odd = Resource { if_match: IfMatch::Refused, ..tagged(&bytes, [Fault::Cut(3_000_000)]) };
    server.put("/d", odd.clone());
    read(&server.url("/d")).is(&bytes);
    let bound = server.seen("/d").iter().filter(|seen| !seen.header("if-match").is_empty()).count();
    assert!((1..=2).contains(&bound), "one that misreads it is not asked so again: {:?}", ranges(&server, "/d"));
    let replaced = Fault::CutAndReplace(3_000_000, noise(SIZE, 2).into(), "\"b\"".into());
    server.put("/d", Resource { faults: [replaced.clone()].into(), ..odd.clone() });
    let before = server.seen("/d").len();
    read(&server.url("/d")).failed(Reason::SourceChanged, "412");
    let seen = &server.seen("/d")[before..];
    let unbound: Vec<_> = seen[1..].iter().filter(|seen| seen.header("if-match").is_empty()).collect();
    assert!(!unbound.is_empty(), "its answers' tags are looked at");
    for seen in unbound {
        let (first, last) = seen.header("range").strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        assert_eq!(first, last, "a byte is paid of what has changed, no more");
    }
    server.put("/d", Resource { faults: [replaced].into(), if_match: IfMatch::Ignored, ..odd });
    read(&server.url("/d")).failed(Reason::SourceChanged, "its ETag was \"a\" and is \"b\"");
}

#[test]
fn an_address_that_a_redirect_led_to_is_kept_until_it_expires() {
    let (server, storage) = (Server::start(), Server::start());
    let bytes = noise(SIZE, 1);
    let away = |path: &str| Fault::Answer(307, vec![("location", storage.url(path))], String::new());
    let redirects = [away("/one?key=1"), away("/two?key=2"), away("/two?key=2")].into();
    server.put("/d", Resource { faults: redirects, ..Resource::default() });
    let expired = Fault::AnswerFrom(3_000_000, 403, Vec::new());
    storage.put("/one", tagged(&bytes, [Fault::Cut(3_000_000), expired]));
    storage.put("/two", tagged(&bytes, []));
    read(&server.url("/d")).is(&bytes);
    // Two requests may find at once that there is no address.
    assert!((2..=3).contains(&server.seen("/d").len()), "once for each address: {:?}", server.seen("/d"));
    assert!(!ranges(&storage, "/two").is_empty());
    assert!(storage.seen("/one").iter().all(|seen| seen.query == "key=1"));

    // One that is refused as soon as it is given is refused.
    server.change("/d", |resource| resource.faults = vec![away("/no"); 4].into());
    storage.put("/no", tagged(&bytes, vec![Fault::Answer(403, Vec::new(), String::new()); 4]));
    read(&server.url("/d")).failed(Reason::Unauthorized, "403");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A failing case is printed with its seed by the harness. All faults may fall on the first bytes, so there are no
    /// more of them than tries.
    #[test]
    fn connections_that_close_anywhere_cost_no_byte(
        size in 1..SIZE,
        seed in any::<u64>(),
        mut places in prop::collection::vec((0.0..1.0_f64, 0..3_u8), 0..=Options::default().retries),
        rate in prop::option::of((8_u32 << 20)..(64 << 20)),
    ) {
        let server = Server::start();
        let bytes = noise(size, seed);
        places.sort_by(|one, other| one.0.total_cmp(&other.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place")]
        let faults = places.iter().map(|(place, kind)| {
            let at = (size as f64 * place) as usize;
            match kind {
                0 => Fault::Cut(at),
                1 => Fault::Short(at),
                _ => Fault::AnswerFrom(at, 503, Vec::new()),
            }
        });
        server.put("/d", Resource { bytes_per_second: rate, ..tagged(&bytes, faults) });
        let read = read(&server.url("/d"));
        prop_assert!(read.bytes.unwrap() == bytes);
        prop_assert_eq!(read.paid, size as u64);
    }
}
