//! Bodies as systemd sends them, read.

use std::collections::HashMap;

use zbus::{Message, ObjectPath, Variant};

use super::*;

fn signal<B: serde::Serialize + zbus::DynamicType>(body: &B) -> Body {
    Message::signal("/org/x", "org.freedesktop.DBus.Properties", "PropertiesChanged")
        .unwrap_body(body)
}

trait UnwrapBody {
    fn unwrap_body<B: serde::Serialize + zbus::DynamicType>(self, body: &B) -> Body;
}

impl UnwrapBody for zbus::message::Builder<'_> {
    fn unwrap_body<B: serde::Serialize + zbus::DynamicType>(self, body: &B) -> Body {
        self.build(body).unwrap().body()
    }
}

#[test]
fn a_unit_change_is_read_and_the_rest_is_skipped() {
    let job = (7_u32, ObjectPath::try_from("/org/freedesktop/systemd1/job/7").unwrap());
    let mut changed: HashMap<&str, Variant<'_>> = HashMap::new();
    changed.insert("ActiveState", "failed".into());
    changed.insert("SubState", "failed".into());
    changed.insert("Job", Variant::from(job));
    changed.insert("InvocationID", Variant::from(vec![1_u8; 16]));
    changed.insert("StateChangeTimestamp", 1_700_000_000_000_000_u64.into());
    changed.insert("ActiveEnterTimestamp", 1_600_000_000_000_000_u64.into());
    changed.insert("StateChangeTimestampMonotonic", 5_u64.into());
    changed.insert("ConditionResult", false.into());
    changed.insert("ConditionTimestamp", 9_u64.into());
    changed.insert("Conditions", Variant::from(vec![("a", true, false, "b", 1_i32)]));
    changed.insert("Documentation", Variant::from(vec!["man:x"]));
    let body = signal(&(UNIT, &changed, vec!["Markers"]));

    let Half::Unit(half) = properties_changed(&body, &mut Words::default()).unwrap() else {
        panic!("not the Unit half");
    };
    let mut seen = UnitSeen::default();
    half.apply(&mut seen);
    assert_eq!(seen.active, ActiveState::Failed);
    assert_eq!(&*seen.sub, "failed");
    assert!(seen.job && seen.condition_failed);
    assert_eq!(seen.invocation, Some(Invocation([1; 16])));
    assert_eq!(seen.since, Some(Wall(1_700_000_000_000_000)));
    assert_eq!(seen.active_since, Some(Wall(1_600_000_000_000_000)));
    assert_eq!(half.triggered, None);
}

#[test]
fn a_service_change_is_read() {
    let mut changed: HashMap<&str, Variant<'_>> = HashMap::new();
    changed.insert("Result", "signal".into());
    changed.insert("ExecMainCode", 2_i32.into());
    changed.insert("ExecMainStatus", 9_i32.into());
    changed.insert("MainPID", 0_u32.into());
    changed.insert("NRestarts", 3_u32.into());
    changed.insert("StatusText", "busy".into());
    changed.insert("OOMPolicy", "kill".into());
    let body = signal(&(SERVICE, &changed, Vec::<&str>::new()));

    let Half::Service(half) = properties_changed(&body, &mut Words::default()).unwrap() else {
        panic!("not the Service half");
    };
    let mut seen = ServiceSeen { main_pid: 77, ..ServiceSeen::default() };
    half.apply(&mut seen);
    let result = "signal".into();
    let want = ServiceSeen {
        result,
        exit_code: 2,
        exit_status: 9,
        n_restarts: 3,
        dies_whole: true,
        ..ServiceSeen::default()
    };
    assert_eq!(seen, want);
}

#[test]
fn other_interfaces_and_broken_bodies_do_no_harm() {
    let changed: HashMap<&str, Variant<'_>> = HashMap::new();
    let words = &mut Words::default();
    let socket = "org.freedesktop.systemd1.Socket";
    let body = signal(&(socket, &changed, Vec::<&str>::new()));
    assert_eq!(properties_changed(&body, words).unwrap(), Half::Other);
    assert!(properties_changed(&signal(&()), words).is_err());
    // A property of another type than systemd's is left alone.
    let mut changed: HashMap<&str, Variant<'_>> = HashMap::new();
    changed.insert("ActiveState", 7_u32.into());
    let body = signal(&(UNIT, &changed, Vec::<&str>::new()));
    assert_eq!(properties_changed(&body, words).unwrap(), Half::Unit(UnitHalf::default()));
}

#[test]
fn rows_are_read_lean() {
    let path = ObjectPath::try_from("/org/x").unwrap();
    let rows_sent = vec![(
        "a.service",
        "A",
        "loaded",
        "activating",
        "auto-restart",
        "",
        &path,
        4_u32,
        "start",
        &path,
    )];
    let body = Message::signal("/a", "b.c", "D").unwrap_body(&(rows_sent,));
    assert_eq!(
        rows(&body, &mut Words::default()).unwrap(),
        vec![Row {
            name: "a.service".into(),
            load: LoadState::Loaded,
            active: ActiveState::Activating,
            sub: "auto-restart".into(),
            job: true,
        }]
    );
}

#[test]
fn words_are_kept_once() {
    let mut words = Words::default();
    assert!(Arc::ptr_eq(&words.get("running"), &words.get("running")));
}
