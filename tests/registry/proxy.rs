//! A proxy in front of a registry that counts what is asked for and spoils what is answered.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends after half of the bytes that were promised.
    Cut,
    /// Half of the bytes, and no more promised.
    Short,
    /// One byte is another.
    Wrong,
    /// A few bytes a second.
    Slow,
    /// Right, but 32 KiB every 40 ms.
    Steady,
    /// The answer is this status.
    Status(u16),
    /// The answer is a redirection to the same place.
    Loop,
}

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    Once,
    Always,
}

#[derive(Default)]
struct State {
    /// Path → number of GET requests; blobs by digest.
    asked: BTreeMap<String, usize>,
    fault: Option<(Fault, Times, String)>,
}

/// The proxy. Its threads end with the process.
pub struct Proxy {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// In front of the registry at `upstream`.
    pub fn of(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // Whoever is cut off says so himself.
                std::thread::spawn(move || answer(stream, upstream, &state).ok());
            }
        });
        Self { port, state }
    }

    /// From now on, answers about what has `part` in its path get `fault`.
    pub fn spoil(&self, part: &str, fault: Fault, times: Times) {
        self.state.lock().unwrap().fault = Some((fault, times, part.to_owned()));
    }

    /// Answers are right again, and nothing was asked yet.
    pub fn mend(&self) {
        *self.state.lock().unwrap() = State::default();
    }

    /// How often each blob was asked for, by digest.
    pub fn blobs(&self) -> BTreeMap<String, usize> {
        let state = self.state.lock().unwrap();
        let blob =
            |(path, count): (&String, &usize)| Some((path.split("/blobs/").nth(1)?.to_owned(), *count));
        state.asked.iter().filter_map(blob).collect()
    }

    /// Number of all requests.
    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().asked.values().sum()
    }
}

fn head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        bytes.push(byte[0]);
        // TLS is tried first, and ends at once.
        if bytes == [0x16] {
            write!(stream, "HTTP/1.1 400 No\r\nConnection: close\r\n\r\n")?;
            bytes.clear();
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn answer(mut stream: TcpStream, upstream: u16, state: &Mutex<State>) -> std::io::Result<()> {
    let request = head(&mut stream)?;
    let Some(path) = request.split(' ').nth(1).map(str::to_owned) else { return Ok(()) };
    let fault = {
        let mut state = state.lock().unwrap();
        *state.asked.entry(path.clone()).or_default() += 1;
        let fits = state.fault.as_ref().is_some_and(|(_, _, part)| path.contains(part.as_str()));
        let fault = state.fault.clone().filter(|_| fits);
        if fault.as_ref().is_some_and(|(_, times, _)| *times == Times::Once) {
            state.fault = None;
        }
        fault.map(|(fault, ..)| fault)
    };
    match fault {
        Some(Fault::Status(status)) => {
            return write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        Some(Fault::Loop) => {
            let to = format!(
                "HTTP/1.1 307 Round\r\nLocation: {path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            return stream.write_all(to.as_bytes());
        }
        _ => {}
    }
    let mut behind = TcpStream::connect(("127.0.0.1", upstream))?;
    let lines = request.trim_end().lines().filter(|line| !line.to_lowercase().starts_with("connection:"));
    let asked: String = lines.map(|line| format!("{line}\r\n")).collect();
    behind.write_all(format!("{asked}Connection: close\r\n\r\n").as_bytes())?;
    let told = head(&mut behind)?;
    let mut body = Vec::new();
    behind.read_to_end(&mut body)?;
    tell(&mut stream, &told, body, fault)
}

/// Passes an answer on, spoiled.
fn tell(stream: &mut TcpStream, told: &str, mut body: Vec<u8>, fault: Option<Fault>) -> std::io::Result<()> {
    let half = body.len() / 2;
    match fault {
        Some(Fault::Short) => {
            let told =
                told.replace(&format!("Content-Length: {}", body.len()), &format!("Content-Length: {half}"));
            stream.write_all(told.as_bytes())?;
            stream.write_all(&body[..half])
        }
        Some(Fault::Cut) => {
            stream.write_all(told.as_bytes())?;
            stream.write_all(&body[..half])
        }
        Some(Fault::Wrong) => {
            body[half] ^= 1;
            stream.write_all(told.as_bytes())?;
            stream.write_all(&body)
        }
        Some(Fault::Slow) => drip(stream, told, &body, (16, Duration::from_millis(200))),
        Some(Fault::Steady) => drip(stream, told, &body, (32 << 10, Duration::from_millis(40))),
        _ => {
            stream.write_all(told.as_bytes())?;
            stream.write_all(&body)
        }
    }
}

/// Passes an answer on in parts with pauses.
fn drip(
    stream: &mut TcpStream,
    told: &str,
    body: &[u8],
    (part, pause): (usize, Duration),
) -> std::io::Result<()> {
    stream.write_all(told.as_bytes())?;
    for part in body.chunks(part) {
        stream.write_all(part)?;
        std::thread::sleep(pause);
    }
    Ok(())
}
