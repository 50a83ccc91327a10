//! What the service answers, and what comes of it.

use std::time::Duration;

use serde_json::json;

use super::super::ingestion::{KEY, all, answer};
use super::*;
use crate::outbound::Retry;

#[test]
fn only_items_that_may_be_taken_later_come_again() {
    let said = r#"{"itemsReceived":7,"itemsAccepted":1,"errors":[
        {"index":6,"statusCode":503,"message":"busy"},
        {"index":1,"statusCode":400,"message":"109: Field 'time' of 0F9A3C71-5D3E-4B8E-9D61-2F00C0FFEE01 is wrong"},
        {"index":2,"statusCode":429,"message":"too many"},
        {"index":3,"statusCode":439},
        {"index":4,"statusCode":206,"message":"Telemetry sampled out."},
        {"index":5,"statusCode":500,"message":null},
        {"index":77,"statusCode":500}]}"#;
    let Some(rig) = Rig::new([answer("206 Partial Content", said), all()]) else { return };
    let batch = rig.batch(&["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
    let taken = rig.post(&batch).unwrap();
    assert_eq!(taken.rejected, 2);
    assert_eq!(taken.note.as_deref(), Some("400 109: Field 'time' of […] is wrong"));
    let rest = taken.rest.unwrap();
    assert_eq!(rest.items, 4);
    assert_eq!(rig.post(&rest).unwrap().rest, None);
    let requests = rig.ingestion.requests();
    let (first, again) = (requests[0].envelopes(), requests[1].envelopes());
    assert_eq!(again, [2, 3, 5, 6].map(|i: usize| first[i].clone()));
    assert_eq!(again[0]["data"]["baseData"]["message"], "m2");
}

#[test]
fn long_answers_are_read_to_their_end() {
    let errors: Vec<_> =
        (0..3000).map(|i| json!({ "index": i, "statusCode": 503, "message": "busy" })).collect();
    let said = json!({ "itemsReceived": 3001, "itemsAccepted": 1, "errors": errors });
    let Some(rig) = Rig::new([answer("206 Partial Content", &said.to_string())]) else {
        return;
    };
    let taken = rig.post(&rig.batch(&["m"; 3001])).unwrap();
    assert_eq!((taken.rejected, taken.rest.unwrap().items), (0, 3000));
}

#[test]
fn each_answer_says_when_to_try_again_and_what_to_do() {
    let errors = |code: u16, text: &str| {
        json!({
            "itemsReceived": 1, "itemsAccepted": 0,
            "errors": [{ "index": 0, "statusCode": code, "message": text }],
        })
        .to_string()
    };
    let later = |seconds| Retry::Later(Some(Duration::from_secs(seconds)));
    let cap = "the daily cap of the resource is reached";
    let cases = [
        ("439 Quota\r\nRetry-After: 90", errors(439, "quota"), later(90), cap),
        ("439 Quota", String::new(), later(300), cap),
        ("402 Payment Required", String::new(), later(300), cap),
        ("429 Too Many Requests\r\nRetry-After: 7", String::new(), later(7), "429"),
        ("206 Partial Content\r\nRetry-After: 8", errors(503, "busy"), later(8), "503 busy"),
        ("206 Partial Content", "no JSON".into(), Retry::Later(None), "does not say what"),
        ("408 Request Timeout", String::new(), Retry::Later(None), "408"),
        ("500 Internal Server Error", errors(500, "oh"), Retry::Later(None), "Error: oh"),
        ("502 Bad Gateway", String::new(), Retry::Later(None), "502"),
        ("503 Service Unavailable", String::new(), Retry::Later(None), "503"),
        ("504 Gateway Timeout", String::new(), Retry::Later(None), "504"),
        (
            "400 Bad Request",
            errors(400, &format!("Invalid instrumentation key {KEY}")),
            Retry::Stop,
            "Invalid instrumentation key […]; there is no such resource",
        ),
        ("400 Bad Request", errors(400, "103: no 'ver'"), Retry::Never, "103: no 'ver'"),
        ("401 Unauthorized", String::new(), Retry::Later(None), "local authentication is off"),
        ("403 Forbidden", String::new(), Retry::Later(None), "from this network"),
        ("404 Not Found", String::new(), Retry::Stop, "check IngestionEndpoint"),
        ("413 Payload Too Large", String::new(), Retry::Never, "smaller items"),
        ("301 Moved\r\nLocation: /", String::new(), Retry::Stop, "301"),
        ("308 Moved", String::new(), Retry::Stop, "names no https address"),
        ("307 Go\r\nLocation: http://localhost:1/", String::new(), Retry::Stop, "no https"),
    ];
    let Some(rig) = Rig::new([all()]) else { return };
    let batch = rig.batch(&["m"]);
    for (head, body, retry, text) in cases {
        rig.ingestion.restart([answer(head, &body)]);
        let error = rig.post(&batch).unwrap_err();
        assert_eq!(error.retry, retry, "{head}: {error}");
        let begin = format!("{} answered {}", rig.ingestion.url(), &head[..3]);
        assert!(error.text.starts_with(&begin), "{head}: {error}");
        assert!(error.text.contains(text), "{head}: {error}");
        assert_no_secret(&error.text);
        assert_eq!(rig.ingestion.requests().len(), 1, "{head}");
    }
}

#[track_caller]
fn assert_no_secret(text: &str) {
    assert!(!text.to_lowercase().contains(&KEY.to_lowercase()), "{text}");
    assert!(!text.contains("6e1d0f64"), "{text}");
}

#[test]
fn what_is_too_much_at_once_goes_in_parts() {
    let big = answer("413 Payload Too Large", "");
    let Some(rig) = Rig::new([big.clone(), big, all()]) else { return };
    let batch = rig.batch(&["m0", "m1", "m2", "m3", "m4"]);
    let taken = rig.post(&batch).unwrap();
    let mut rest = taken.rest.unwrap();
    assert_eq!(rest.items, 4);
    while let Some(more) = rig.post(&rest).unwrap().rest {
        rest = more;
    }
    let sizes: Vec<usize> = rig.ingestion.requests().iter().map(|r| r.envelopes().len()).collect();
    // What is known to be too much is not tried again.
    assert_eq!(sizes, [5, 2, 1, 1, 1, 1, 1]);
    let last = rig.ingestion.requests()[6].envelopes();
    assert_eq!(last[0]["data"]["baseData"]["message"], "m4");
}

#[test]
fn it_goes_where_the_service_sends_it() {
    let Some(rig) = Rig::new([all()]) else { return };
    let second = rig.ingestion.beside([all()]);
    let moved = format!("308 Permanent Redirect\r\nLocation: {}/v2/track", second.url());
    rig.ingestion.restart([answer(&moved, "")]);
    let batch = rig.batch(&["m"]);
    assert_eq!(rig.post(&batch).unwrap().said, "200 OK");
    assert_eq!(rig.post(&batch).unwrap().said, "200 OK");
    assert_eq!((rig.ingestion.requests().len(), second.requests().len()), (1, 2));
    assert_eq!(second.requests()[0].body, rig.ingestion.requests()[0].body);

    // When that is of no use any more, it asks again where to go.
    second.restart([answer("503 Service Unavailable", "")]);
    let error = rig.post(&batch).unwrap_err();
    assert!(error.text.starts_with(&second.url()), "{error}");
    rig.ingestion.restart([all()]);
    assert_eq!(rig.post(&batch).unwrap().said, "200 OK");
    assert_eq!((rig.ingestion.requests().len(), second.requests().len()), (1, 1));

    let here = format!("307 Temporary Redirect\r\nLocation: {}/v2/track", rig.ingestion.url());
    rig.ingestion.restart([answer(&here, "")]);
    let error = rig.post(&batch).unwrap_err();
    assert_eq!(error.retry, Retry::Later(None));
    assert!(error.text.contains("from one address to the next"), "{error}");
    assert_eq!(rig.ingestion.requests().len(), 6);
}
