//! Lanes and real receivers: one that is gone for an hour, and one that is slow for one container.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;

/// A request that was answered: its line, its key, its body.
type Heard = Arc<Mutex<Vec<(String, String, String)>>>;

/// Answers every request on a socket with 204, each connection by itself; what `hangs` is in the
/// line of, it never answers.
async fn serve(listener: TcpListener, heard: Heard, hangs: &'static str) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let heard = heard.clone();
        connections.spawn(async move { connection(stream, heard, hangs).await });
    }
}

async fn connection(mut stream: TcpStream, heard: Heard, hangs: &'static str) -> Option<()> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
            bytes.extend_from_slice(&chunk[..n]);
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let header = |name: &str| {
            let line = head.lines().find(|l| l.to_lowercase().starts_with(name))?;
            Some(line.split_once(": ")?.1.to_owned())
        };
        let length: usize = header("content-length").map_or(0, |n| n.parse().unwrap());
        while bytes.len() < end + length {
            let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
            bytes.extend_from_slice(&chunk[..n]);
        }
        let body = String::from_utf8(bytes[end..end + length].to_vec()).unwrap();
        bytes.drain(..end + length);
        let line = head.lines().next().unwrap().to_owned();
        if !hangs.is_empty() && line.contains(hangs) {
            std::future::pending::<()>().await;
        }
        heard.lock().unwrap().push((line, header("idempotency-key").unwrap(), body));
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok()?;
    }
}

/// A lane of a hook, and what ends it.
fn start(
    hook: Arc<dyn Hook>,
    now: fn() -> Now,
    tasks: &mut JoinSet<()>,
) -> (mpsc::UnboundedSender<Arc<HookCall>>, CancellationToken) {
    let (events, mut received) = mpsc::unbounded_channel();
    let flush = Duration::from_secs(1);
    let context = Context { host_key: "0011".into(), store: None, events, now, flush };
    let lane = HookLane::new(hook, Vec::new(), context, 1 << 24);
    let (calls, jobs) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tasks.spawn(async move { assert_eq!(lane.run(jobs, stopped).await, []) });
    tasks.spawn(async move { while received.recv().await.is_some() {} });
    (calls, stop)
}

fn hook(kind: &str, url: &str) -> Arc<dyn Hook> {
    one(&format!(
        "[[hook]]\nname = \"registry\"\ntype = \"{kind}\"\nurl = \"{url}\"\nproxy = false"
    ))
}

const LIFE: [Transition; 4] =
    [Transition::Started, Transition::Died, Transition::Started, Transition::Removed];

/// The time stands still but for the waits, so that an hour passes in seconds.
#[tokio::test(start_paused = true)]
async fn receivers_that_are_gone_for_an_hour_are_told_of_everything() {
    let (mut tasks, mut receivers) = (JoinSet::new(), Vec::new());
    for kind in ["discovery", "billing", "http"] {
        // The port is known, and nobody listens there yet.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (calls, stop) = start(hook(kind, &format!("http://{address}/{kind}")), now, &mut tasks);
        receivers.push((kind, address, calls, stop, Heard::default()));
    }
    let mut number = 0;
    for transition in LIFE {
        for n in 0..50 {
            number += 1;
            let container = HookContainer { id: format!("{n:064x}").into(), ..container() };
            for (_, _, calls, ..) in &receivers {
                calls.send(call_of(number, transition, container.clone())).unwrap();
            }
        }
        tokio::time::sleep(Duration::from_secs(900)).await;
    }
    let mut servers = JoinSet::new();
    for (_, address, _, _, heard) in &receivers {
        let listener = TcpListener::bind(address).await.unwrap();
        servers.spawn(serve(listener, heard.clone(), ""));
    }
    tokio::time::sleep(Duration::from_secs(1200)).await;
    for (kind, _, _, stop, heard) in &receivers {
        stop.cancel();
        let heard = heard.lock().unwrap();
        let keys: BTreeSet<&str> = heard.iter().map(|(_, key, _)| &**key).collect();
        assert_eq!(keys.len(), 200, "{kind}: all arrived, under an id each");
        let mut lives: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut known: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        for (line, key, body) in heard.iter() {
            let same = known.insert(key, (line, body)).is_none_or(|told| told == (line, body));
            assert!(same, "{kind}: a repeat under {key} says something else");
            let text = format!("{line}{body}");
            let at = text.find("0000000000").unwrap();
            let number = key.strip_prefix("0011-h").unwrap().parse().unwrap();
            lives.entry(text[at..at + 64].to_owned()).or_default().push(number);
        }
        assert_eq!(lives.len(), 50);
        for (id, numbers) in lives {
            assert!(numbers.is_sorted(), "{kind}: {id}: {numbers:?}");
        }
    }
    while tasks.join_next().await.is_some_and(|ended| ended.map(drop).is_ok()) {}
    servers.shutdown().await;
}

#[test]
fn one_container_whose_answer_hangs_holds_no_other_up() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (mut tasks, heard) = (JoinSet::new(), Heard::default());
        tasks.spawn(serve(listener, heard.clone(), "/slow"));
        let hook = hook("http", &format!("{url}/{{{{ container.name }}}}"));
        let (events, mut received) = mpsc::unbounded_channel();
        let flush = Duration::ZERO;
        let context = Context { host_key: "0011".into(), store: None, events, now, flush };
        let lane = HookLane::new(hook, Vec::new(), context, 1 << 24);
        let (calls, jobs) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tasks.spawn(async move { drop(lane.run(jobs, stopped).await) });
        let send = |number, name: &str| {
            let (id, name) = (name.into(), name.into());
            let container = HookContainer { id, name, ..container() };
            calls.send(call_of(number, Transition::Started, container)).unwrap();
        };
        send(1, "slow");
        send(2, "slow");
        (3..400).for_each(|n| send(n, &format!("c{}", n % 40)));
        // Others are told while it hangs, which is 5 s; a busy machine takes longer to tell all.
        let (mut told, mut before) = (0, None);
        while told < 397 || before.is_none() {
            match received.recv().await.unwrap() {
                crate::engine::Event::Outcome(crate::engine::Outcome::Call { result, .. }) => {
                    match result {
                        crate::engine::Delivery::Delivered => told += 1,
                        crate::engine::Delivery::Failed(why) => {
                            assert!(why.contains("did not answer within 5 s"), "{why}");
                            before.get_or_insert(told);
                        }
                        other => panic!("{other:?}"),
                    }
                }
                _ => continue,
            }
        }
        assert_eq!(told, 397);
        assert!(before > Some(0), "nobody was told before it had failed");
        assert!(heard.lock().unwrap().iter().all(|(line, ..)| !line.contains("slow")));
        stop.cancel();
        tasks.shutdown().await;
    });
}
