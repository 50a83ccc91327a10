//! The source: schedules, limits, and that one probe that hangs holds up no other.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::*;

/// Looks in a given time, and counts how many look together.
struct Stub {
    takes: Duration,
    under_way: Rc<Cell<(usize, usize)>>,
}

struct UnderWay(Rc<Cell<(usize, usize)>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let (now, most) = self.0.get();
        self.0.set((now - 1, most));
    }
}

impl Probe for Stub {
    fn look(&mut self) -> Looking<'_> {
        let (now, most) = self.under_way.get();
        self.under_way.set((now + 1, most.max(now + 1)));
        let guard = UnderWay(self.under_way.clone());
        Box::pin(async move {
            let _guard = guard;
            time::sleep(self.takes).await;
            finding(ProbeOutcome::Good, Reason::ProbeOk, "well")
        })
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn source(takes: &[Duration], under_way: &Rc<Cell<(usize, usize)>>) -> ProbeSource {
    let job = |(n, takes): (usize, &Duration)| Job {
        name: format!("p{n}").into(),
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(20),
        probe: Box::new(Stub { takes: *takes, under_way: under_way.clone() }),
    };
    ProbeSource { jobs: takes.iter().enumerate().map(job).collect() }
}

fn context(once: bool) -> (SourceContext, mpsc::Receiver<Observation>) {
    let (out, seen) = mpsc::channel(64);
    let resync = Arc::new(Notify::new());
    (SourceContext { out, stop: CancellationToken::new(), resync, once }, seen)
}

#[tokio::test(start_paused = true)]
async fn each_has_its_own_schedule_and_one_that_hangs_is_late() {
    let under_way = Rc::default();
    let mut source = source(&[Duration::from_secs(1), HOUR, Duration::from_secs(2)], &under_way);
    let (context, mut seen) = context(false);
    let began = Instant::now();
    let mut found: Vec<(String, &'static str, Duration)> = Vec::new();
    tokio::select! {
        _ = source.watch(&context) => panic!("it goes on"),
        () = async {
            while began.elapsed() < Duration::from_secs(300) {
                let Some(Observation::Probe(one)) = seen.recv().await else { panic!() };
                found.push((one.name.to_string(), one.finding.reason.as_str(), began.elapsed()));
            }
        } => {}
    }
    for (name, reason) in [("p0", "probe-ok"), ("p1", "probe-timeout"), ("p2", "probe-ok")] {
        let at: Vec<Duration> =
            found.iter().filter(|f| f.0 == name && f.1 == reason).map(|f| f.2).collect();
        assert_eq!(at.len(), found.iter().filter(|f| f.0 == name).count(), "{found:?}");
        assert!(at.len() >= 5, "{found:?}");
        assert!(at[0] <= Duration::from_secs(5 + 20 + 2), "{found:?}");
        let ms = Duration::from_millis(10);
        for pair in at.windows(2) {
            let apart = pair[1] - pair[0];
            // A turn may have to be waited for.
            let range = Duration::from_secs(54) - ms..=Duration::from_secs(60 + 20) + ms;
            assert!(range.contains(&apart), "{name}: {apart:?}");
        }
    }
    assert!(under_way.get().1 <= AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn a_single_round_looks_at_all_and_ends() {
    let under_way = Rc::default();
    let mut source = source(&[Duration::from_secs(1); 7], &under_way);
    let (context, mut seen) = context(true);
    source.run(context).await.unwrap();
    let mut names = std::collections::BTreeSet::new();
    let mut round = false;
    while let Some(one) = seen.recv().await {
        match one {
            Observation::Probe(one) => {
                assert_eq!(one.took.as_secs(), 1);
                names.insert(one.name);
            }
            Observation::Round(of) => round = of.source == SourceKind::Probes,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((names.len(), round), (7, true));
    assert_eq!(under_way.get(), (0, AT_ONCE));
}

#[tokio::test(start_paused = true)]
async fn it_stops_in_the_middle_of_a_look() {
    let under_way = Rc::default();
    let mut source = source(&[HOUR], &under_way);
    let (context, _seen) = context(false);
    let stop = context.stop.clone();
    tokio::join!(async { source.run(context).await.unwrap() }, async {
        time::sleep(Duration::from_secs(6)).await;
        stop.cancel();
    });
    assert_eq!(under_way.get(), (0, 1));
}

#[test]
fn a_type_that_does_not_exist_is_an_error_with_a_hint() {
    let options = crate::config::Options::new(None, Default::default(), true, "host".into());
    let read = |text: &str| {
        let inputs = vec![crate::config::Input::memory("a", text)];
        let mut loaded = crate::config::load_from(inputs, &options);
        let plans = probes(&loaded.config.probes, &mut loaded.sink);
        loaded.finish().map(|_| plans).map_err(|found| found.to_string())
    };
    let said = read("[[probe]]\nname = \"a\"\ntype = \"gti\"").err().unwrap();
    assert!(said.contains("a:3:8: there is no probe type \"gti\""), "{said}");
    assert!(said.contains("types: git"), "{said}");
    let said = read("[[probe]]\nname = \"a\"\ntype = \"git\"\npth = \"/a\"\nignore = \"x\"")
        .err()
        .unwrap();
    assert!(said.contains("needs the key `path`") && said.contains("unknown key `pth`"), "{said}");
    assert!(said.contains("it takes behind, ahead, diverged"), "{said}");
    let of = |more: &str| {
        let text = format!("[[probe]]\nname = \"a\"\ntype = \"git\"\npath = \"/a\"\n{more}");
        let plans = read(&text).unwrap_or_else(|said| panic!("{said}"));
        (plans[0].interval.as_secs(), plans[0].timeout.as_secs())
    };
    assert_eq!(of(""), (300, 30));
    assert_eq!(of("interval = \"10s\""), (10, 10));
    assert_eq!(of("timeout = \"9m\""), (300, 300));
}

#[test]
fn every_kind_and_key_is_documented() {
    let docs = include_str!("../../../docs/probes.md");
    for kind in KINDS {
        let heading = format!("## `{}`: ", kind.name);
        let (_, section) = docs.split_once(&heading).unwrap_or_else(|| panic!("no {heading}"));
        for key in kind.keys {
            let row =
                section.lines().find(|line| line.starts_with(&format!("| `{}` | ", key.name)));
            let row = row.unwrap_or_else(|| panic!("{} has no row", key.name));
            assert!(row.contains(&format!("`{}`", key.example)), "{row}");
            assert!(key.default.is_empty() || row.contains(&format!("`{}`", key.default)), "{row}");
        }
    }
}
