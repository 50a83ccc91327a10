//! Whether a receiver of measurements answers: for `keepwell doctor`.

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::data::ResourceMetrics;

use super::exporter::Exporter;
use crate::engine::Now;
use crate::outbound::{Retry, SendError};

impl Exporter {
    /// Sends no measurement at all, which OTLP allows; what the receiver answered.
    ///
    /// # Errors
    /// When it cannot be reached or does not take it.
    pub async fn probe(&self, now: Now) -> Result<String, SendError> {
        let never = |text| SendError { retry: Retry::Never, text };
        let nothing = ResourceMetrics::default();
        let resource = Resource::builder_empty().build();
        let batch = self.wire.metrics(&nothing, &resource).map_err(never)?;
        let taken = self.wire.post(&batch, now).await?;
        let note = taken.note.map(|note| format!(": {note}")).unwrap_or_default();
        Ok(format!("{}{note}", taken.said))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::super::plan::receivers;
    use super::*;
    use crate::config::{self, Input, Options};
    use crate::engine::{Boot, Wall};
    use crate::outbound::Clients;

    /// What is said of a receiver that gives this answer, and what it was asked.
    fn asked(answer: &'static str) -> (Result<String, SendError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = format!(
            "[otlp]\nendpoint = \"http://{}\"\ncompression = \"none\"\nproxy = false",
            listener.local_addr().unwrap()
        );
        let receiver = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            let end = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_ascii_lowercase();
                let head = text.find("\r\n\r\n")? + 4;
                let length = text.split("content-length: ").nth(1)?.lines().next()?;
                Some(head + length.parse::<usize>().ok()?)
            };
            while end(&request).is_none_or(|end| request.len() < end) {
                let n = stream.read(&mut part).unwrap();
                assert!(n > 0, "the request ended early");
                request.extend(&part[..n]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            request
        });
        let options = Options::new(None, Default::default(), true, "host".into());
        let mut loaded = config::load_from(vec![Input::memory("a", text)], &options);
        let mut clients = Clients::default();
        let made = receivers(&loaded.config, &mut clients, &mut loaded.sink);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let now = Now { boot: Boot(0), wall: Wall(1) };
        let said = runtime.block_on(made.exporters[0].probe(now));
        (said, receiver.join().unwrap())
    }

    #[test]
    fn a_receiver_is_asked_with_no_measurement() {
        let (said, request) = asked("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(said.unwrap(), "200 OK");
        let text = String::from_utf8_lossy(&request).into_owned();
        assert!(text.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{text}");
        assert!(text.to_lowercase().contains("content-type: application/x-protobuf"), "{text}");
        // One resource without attributes and nothing measured.
        assert!(request.len() - text.find("\r\n\r\n").unwrap() - 4 < 8, "{request:?}");
    }

    #[test]
    fn one_that_does_not_take_it_says_why() {
        let (said, _) = asked("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope");
        let text = said.unwrap_err().text;
        assert!(text.contains("404") && text.contains("usually at port 4318"), "{text}");
    }
}
