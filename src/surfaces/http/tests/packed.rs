//! `/metrics` in each format, and bodies by gzip.

use std::io::Read;

use super::*;
use crate::surfaces::metrics::Format;

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let rig = rig(sample::failing());
    for (path, accept, mime) in [
        ("/metrics", "*/*", "application/json"),
        ("/metrics", "text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "/metrics",
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        (
            "/metrics?format=prometheus",
            "application/json",
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        ("/metrics?format=json", "text/plain", "application/json"),
    ] {
        let response = rig.ask(Peer::Tcp, request("GET", path, &[("accept", accept)], "")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "content-type"), mime, "{path} {accept}");
        assert_eq!(header(&response, "vary"), "Accept, Accept-Encoding");
        assert_eq!(header(&response, "content-encoding"), "");
    }
    let (status, body) = rig.get("/metrics?format=xml").await;
    assert_eq!(status, 400);
    assert!(body.contains("use ?format=json, prometheus or openmetrics"), "{body}");
}

#[tokio::test]
async fn large_bodies_come_by_gzip_to_those_who_ask() {
    let rig = rig(sample::failing());
    let open = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1";
    for path in ["/metrics", "/metrics?format=json", "/health/detailed"] {
        let ask = |method, coding| {
            let headers = [("accept", open), ("accept-encoding", coding)];
            rig.ask(Peer::Tcp, request(method, path, &headers, ""))
        };
        let plain = ask("GET", "gzip;q=0").await;
        let packed = ask("GET", "gzip").await;
        assert_eq!(header(&plain, "content-encoding"), "", "{path}");
        assert_eq!(header(&packed, "content-encoding"), "gzip", "{path}");
        assert_eq!(plain.status(), packed.status());
        for name in ["content-type", "vary", "cache-control"] {
            assert_eq!(header(&plain, name), header(&packed, name), "{path} {name}");
        }
        assert!(header(&packed, "vary").contains("Accept-Encoding"), "{path}");
        let plain = text(plain).await.1;
        let bytes = packed.into_body().collect().await.unwrap().to_bytes();
        let mut read = String::new();
        flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut read).unwrap();
        assert_eq!(read, plain, "{path}");
        assert!(bytes.len() * 3 < plain.len(), "{} of {}", bytes.len(), plain.len());
        let head = ask("HEAD", "gzip").await;
        assert_eq!(header(&head, "content-encoding"), "gzip", "{path}");
        assert_eq!(header(&head, "content-length"), bytes.len().to_string(), "{path}");
        assert_eq!(text(head).await.1, "", "{path}");
    }
    // Small ones, and errors, come as they are.
    for path in ["/health", "/livez", "/metrics?format=xml"] {
        let ask = request("GET", path, &[("accept-encoding", "gzip")], "");
        assert_eq!(header(&rig.ask(Peer::Tcp, ask).await, "content-encoding"), "", "{path}");
    }
}

#[tokio::test]
async fn a_body_is_packed_once_per_snapshot() {
    let rig = rig(sample::healthy());
    let pack = |format| {
        let now = rig.shared.cache.current(&rig.shared.snapshot);
        now.packed(cache::Body::Metrics(format), &rig.shared.agent)
    };
    let first = pack(Format::OpenMetrics);
    assert_eq!(first.as_ptr(), pack(Format::OpenMetrics).as_ptr());
    assert_ne!(first.as_ptr(), pack(Format::Prometheus).as_ptr(), "each format has its own");
    rig.publish.send(Arc::new(sample::failing())).unwrap();
    assert_ne!(first.as_ptr(), pack(Format::OpenMetrics).as_ptr());
}
