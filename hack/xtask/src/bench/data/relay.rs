//! A slower network between client and server: 1 Gb/s for all connections together, and 20 ms until an answer arrives.
//! Requests pass at once, so that 20 ms is the round trip.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes a second.
const RATE: f64 = 125_000_000.0;
const DELAY: Duration = Duration::from_millis(20);

/// What the link makes up for when a thread has slept too long: as much as a switch would have buffered.
const SLACK: Duration = Duration::from_millis(5);

/// What is taken at once.
const CHUNK: usize = 64 << 10;

/// What is under way on one connection at most, in chunks: more than what the link carries in its delay (2.5 MB), so
/// that one connection alone can fill it.
const WINDOW: usize = 64;

/// The link that all connections share.
struct Link(Mutex<Instant>);

impl Link {
    /// Waits until so many bytes have passed, behind those that were there before.
    fn pass(&self, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "bytes of a chunk")]
        let takes = Duration::from_secs_f64(bytes as f64 / RATE);
        let until = {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            *free = (*free).max(now.checked_sub(SLACK).unwrap_or(now)) + takes;
            *free
        };
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

/// Relays for as long as the process lives.
pub(super) fn relay(listener: &TcpListener, server: SocketAddr) {
    let link = Arc::new(Link(Mutex::new(Instant::now())));
    for connection in listener.incoming().flatten() {
        let link = Arc::clone(&link);
        // Whoever hangs up ends this connection, and nothing else.
        thread::spawn(move || drop(carry(&connection, server, &link)));
    }
}

fn carry(client: &TcpStream, server: SocketAddr, link: &Link) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let server = &server;
    let (sender, receiver) = sync_channel(WINDOW);
    thread::scope(|scope| {
        scope.spawn(|| {
            // The end of the requests is the end of the answers.
            drop(io::copy(&mut &*client, &mut &*server));
            drop(server.shutdown(Shutdown::Write));
        });
        // With the sender goes the receiver's hope for more.
        scope.spawn(move || drop(take(server, &sender)));
        let given = give(client, &receiver, link);
        // Unblocks the other two, whichever side went first.
        drop(client.shutdown(Shutdown::Both));
        drop(server.shutdown(Shutdown::Both));
        drop(receiver);
        given
    })
}

fn take(mut server: &TcpStream, chunks: &SyncSender<(Instant, Vec<u8>)>) -> io::Result<()> {
    loop {
        let mut chunk = vec![0; CHUNK];
        let count = server.read(&mut chunk)?;
        chunk.truncate(count);
        if count == 0 || chunks.send((Instant::now(), chunk)).is_err() {
            return Ok(());
        }
    }
}

fn give(mut client: &TcpStream, chunks: &Receiver<(Instant, Vec<u8>)>, link: &Link) -> io::Result<()> {
    for (sent, chunk) in chunks {
        thread::sleep((sent + DELAY).saturating_duration_since(Instant::now()));
        link.pass(chunk.len());
        client.write_all(&chunk)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
