//! A tiny webhook receiver for tests, demo and bench. It records each request as one JSON line
//! (`at_us`, `method`, `path`, `headers`, `body`, `answer`) and answers as its mode says:
//!
//! `ok`, `status CODE [RETRY_AFTER_SECONDS]`, `delay MILLISECONDS`, `hang`.
//!
//! ```text
//! receiver [--listen 127.0.0.1:9901] [--log FILE] [--mode MODE | --mode-file FILE] [--notify]
//! ```
//!
//! Without `--log` it writes to standard output. A mode file is read anew for each request, so a
//! test can change it at any time. `--notify` tells systemd when it listens.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

/// Larger bodies are refused: nothing that it receives comes near.
const MAX_BODY: usize = 16 << 20;

struct Settings {
    listen: String,
    log: Option<String>,
    mode: String,
    mode_file: Option<String>,
    notify: bool,
}

/// How a request is answered.
#[derive(Debug, PartialEq)]
enum Mode {
    Status(u16, Option<u32>),
    Delay(Duration),
    Hang,
}

struct Request {
    at_us: i64,
    method: String,
    path: String,
    headers: Map<String, Value>,
    body: Vec<u8>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("receiver: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let settings = Arc::new(settings(std::env::args().skip(1))?);
    mode(&settings)?;
    let log: Box<dyn Write + Send> = match &settings.log {
        Some(path) => {
            if let Some(dir) = std::path::Path::new(path).parent() {
                std::fs::create_dir_all(dir)?;
            }
            Box::new(File::options().create(true).append(true).open(path)?)
        }
        None => Box::new(std::io::stdout()),
    };
    let log = Arc::new(Mutex::new(log));
    let listener = TcpListener::bind(&settings.listen)
        .map_err(|e| format!("cannot listen on {}: {e}", settings.listen))?;
    if settings.notify {
        sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
    }
    for stream in listener.incoming().flatten() {
        let (settings, log) = (Arc::clone(&settings), Arc::clone(&log));
        std::thread::spawn(move || {
            // A client that breaks off concerns nobody else.
            let _ = serve(stream, &settings, &log);
        });
    }
    Ok(())
}

fn settings(mut args: impl Iterator<Item = String>) -> Result<Settings, Box<dyn Error>> {
    let mut settings = Settings {
        listen: "127.0.0.1:9901".into(),
        log: None,
        mode: "ok".into(),
        mode_file: None,
        notify: false,
    };
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--listen" => settings.listen = value()?,
            "--log" => settings.log = Some(value()?),
            "--mode" => settings.mode = value()?,
            "--mode-file" => settings.mode_file = Some(value()?),
            "--notify" => settings.notify = true,
            _ => return Err(format!("unknown argument {flag}; see the top of its source").into()),
        }
    }
    Ok(settings)
}

fn mode(settings: &Settings) -> Result<Mode, Box<dyn Error>> {
    let text = match &settings.mode_file {
        // An empty file is one that is being written right now.
        Some(path) => loop {
            let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
            if !text.is_empty() {
                break text;
            }
        },
        None => settings.mode.clone(),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["ok"] => Mode::Status(200, None),
        ["status", code] => Mode::Status(code.parse()?, None),
        ["status", code, seconds] => Mode::Status(code.parse()?, Some(seconds.parse()?)),
        ["delay", ms] => Mode::Delay(Duration::from_millis(ms.parse()?)),
        ["hang"] => Mode::Hang,
        _ => return Err(format!("'{}' is no mode", text.trim()).into()),
    })
}

/// Serves one connection, with keep-alive.
fn serve(
    stream: TcpStream,
    settings: &Settings,
    log: &Mutex<Box<dyn Write + Send>>,
) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        let mode = mode(settings)?;
        let answer = match mode {
            Mode::Status(code, _) => code,
            Mode::Delay(_) => 200,
            Mode::Hang => 0,
        };
        record(log, &request, answer)?;
        let (code, retry_after) = match mode {
            Mode::Status(code, retry_after) => (code, retry_after),
            Mode::Delay(delay) => {
                std::thread::sleep(delay);
                (200, None)
            }
            // Until the client has had enough.
            Mode::Hang => {
                std::io::copy(&mut reader, &mut std::io::sink())?;
                return Ok(());
            }
        };
        let retry_after = retry_after.map(|s| format!("Retry-After: {s}\r\n")).unwrap_or_default();
        let answer = format!("HTTP/1.1 {code} Answer\r\n{retry_after}Content-Length: 2\r\n\r\nok");
        writer.write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn record(
    log: &Mutex<Box<dyn Write + Send>>,
    request: &Request,
    answer: u16,
) -> Result<(), Box<dyn Error>> {
    let text = String::from_utf8_lossy(&request.body);
    let body = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.as_ref()));
    let mut line = serde_json::to_string(&json!({
        "at_us": request.at_us,
        "method": request.method,
        "path": request.path,
        "headers": request.headers,
        "body": body,
        "answer": answer,
    }))?;
    line.push('\n');
    // One write a line: a reader never sees half of one.
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.write_all(line.as_bytes())?;
    Ok(log.flush()?)
}

/// Reads one request; `None` when the client has closed.
fn read(reader: &mut BufReader<TcpStream>) -> Result<Option<Request>, Box<dyn Error>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let at = clock_gettime(ClockId::Realtime);
    let at_us = at.tv_sec * 1_000_000 + at.tv_nsec / 1_000;
    let mut words = first.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or_default().to_owned();
    let mut headers = Map::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().into());
    }
    let header = |name: &str| headers.get(name).and_then(Value::as_str).unwrap_or_default();
    if header("expect").eq_ignore_ascii_case("100-continue") {
        reader.get_ref().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        read_chunks(reader, &mut body)?;
    } else {
        read_exactly(reader, header("content-length").parse().unwrap_or(0), &mut body)?;
    }
    Ok(Some(Request { at_us, method, path, headers, body }))
}

fn read_chunks(
    reader: &mut BufReader<TcpStream>,
    body: &mut Vec<u8>,
) -> Result<(), Box<dyn Error>> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16)?;
        read_exactly(reader, size, body)?;
        line.clear();
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn read_exactly(
    reader: &mut BufReader<TcpStream>,
    size: usize,
    body: &mut Vec<u8>,
) -> Result<(), Box<dyn Error>> {
    if body.len() + size > MAX_BODY {
        return Err("body too large".into());
    }
    let start = body.len();
    body.resize(start + size, 0);
    Ok(reader.read_exact(&mut body[start..])?)
}
