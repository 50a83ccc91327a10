//! `/api/v1`: what programs read. [`super::gate`] says who may; what people do is in
//! [`super::acts`].

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use crate::engine::matcher::Matcher;
use crate::engine::{AlertRecord, CheckView, Severity, Snapshot};
use crate::surfaces::report::{
    AlertDetail, AlertList, AlertReport, ChannelList, ChannelReport, CheckReport, ContainerList,
    MaintenanceReport, SilenceList, SilenceReport, Stamp, near_names,
};

use super::Shared;
use super::answer::{body, error, json, missing};
use super::cache::Body;
use super::gate::{self, Caller};

type State_ = State<Arc<Shared>>;

pub(super) async fn status(State(shared): State_, request: Request) -> Response {
    see(&shared, &request, |caller| {
        let now = shared.cache.current(&shared.snapshot);
        let bytes = now.body(Body::Status(caller.lines()), &shared.agent);
        body(StatusCode::OK, "application/json", bytes)
    })
}

pub(super) async fn units(State(shared): State_, request: Request) -> Response {
    see(&shared, &request, |caller| {
        let now = shared.cache.current(&shared.snapshot).report(caller.lines(), &shared.agent);
        let units: Vec<_> = now.checks.into_iter().filter(|c| c.unit.is_some()).collect();
        let all =
            json!({ "timestamp": now.timestamp, "units_total": now.units_total, "units": units });
        json(StatusCode::OK, &all)
    })
}

pub(super) async fn containers(State(shared): State_, request: Request) -> Response {
    see(&shared, &request, |caller| {
        let now = shared.now();
        let all = now.checks.iter().filter(|c| c.container.is_some());
        let containers = all.map(|c| CheckReport::of(c, now.at, caller.lines())).collect();
        json(StatusCode::OK, &ContainerList { timestamp: Stamp(now.at), containers })
    })
}

/// One with all that bears on it. A `/` in its name is written as `%2F`.
pub(super) async fn container(
    State(shared): State_,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    see(&shared, &request, |caller| {
        // What cannot be decoded names nothing.
        let name = name.map_or_else(|_| String::new(), |Path(name)| name);
        let now = shared.cache.current(&shared.snapshot);
        let is_it = |c: &Arc<CheckView>| {
            c.container.as_ref().is_some_and(|container| *container.seen.name == *name)
        };
        let Some(check) = now.snapshot.checks.iter().find(|c| is_it(c)) else {
            return no_container(&now.snapshot, &name);
        };
        match now.report(caller.lines(), &shared.agent).explain(&check.id.to_string()) {
            Ok(explained) => json(StatusCode::OK, &explained),
            Err(near) => missing(format!("no check is called '{}'", check.id), &near),
        }
    })
}

/// What is said where no container has a name.
pub(super) fn no_container(now: &Snapshot, name: &str) -> Response {
    let known = now.checks.iter().filter_map(|c| c.container.as_ref()).map(|c| &*c.seen.name);
    let near = near_names(known, name);
    let name: String = name.chars().take(100).collect();
    missing(format!("keepwell knows no container called '{name}'"), &near)
}

/// Which alerts are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Which {
    Open,
    Resolved,
    #[default]
    All,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AlertsQuery {
    state: Which,
    severity: Option<Severity>,
    check: Option<String>,
}

/// Open ones and those that ended lately, as the query asks.
pub(super) async fn alerts(State(shared): State_, request: Request) -> Response {
    listed(&shared, &request, None)
}

/// Open ones, as the query asks.
pub(super) async fn active(State(shared): State_, request: Request) -> Response {
    listed(&shared, &request, Some(Which::Open))
}

fn listed(shared: &Shared, request: &Request, which: Option<Which>) -> Response {
    see(shared, request, |caller| {
        let query = match Query::<AlertsQuery>::try_from_uri(request.uri()) {
            Ok(Query(query)) => query,
            Err(_) => return error(StatusCode::BAD_REQUEST, ALERTS_QUERY),
        };
        let matcher = match query.check.as_deref().map(Matcher::check).transpose() {
            Ok(matcher) => Matcher { min_severity: query.severity, ..matcher.unwrap_or_default() },
            Err(text) => return error(StatusCode::BAD_REQUEST, text),
        };
        let which = which.unwrap_or(query.state);
        let now = shared.now();
        let wanted = |a: &&Arc<AlertRecord>| matcher.matches(&a.key.check, a.severity, &now.labels);
        let open = now.alerts.iter().filter(|_| which != Which::Resolved);
        let over = now.recent.iter().filter(|_| which != Which::Open);
        let report = |a: &Arc<AlertRecord>| AlertReport::of(a, &now, caller.lines());
        let alerts = open.chain(over).filter(wanted).map(report).collect();
        json(StatusCode::OK, &AlertList { timestamp: Stamp(now.at), alerts })
    })
}

const ALERTS_QUERY: &str = "unknown filter: use state=open, resolved or all, severity=warning or \
                            critical (and worse), and check=unit:nginx.service or a pattern";

pub(super) async fn alert(
    State(shared): State_,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    see(&shared, &request, |caller| {
        // What cannot be decoded names nothing.
        let id = id.map_or_else(|_| String::new(), |Path(id)| id);
        match AlertDetail::of(&shared.now(), &id, caller.lines()) {
            Ok(detail) => json(StatusCode::OK, &detail),
            Err(near) => {
                let id: String = id.chars().take(100).collect();
                missing(format!("no alert is called '{id}'"), &near)
            }
        }
    })
}

pub(super) async fn silences(State(shared): State_, request: Request) -> Response {
    see(&shared, &request, |_| {
        let now = shared.now();
        let all = SilenceList {
            timestamp: Stamp(now.at),
            silences: now.silences.iter().map(SilenceReport::from).collect(),
            maintenance: MaintenanceReport::all(&now),
            quiet: now.quiet.map(|r| r.as_str().to_owned()),
        };
        json(StatusCode::OK, &all)
    })
}

pub(super) async fn channels(State(shared): State_, request: Request) -> Response {
    see(&shared, &request, |_| {
        let now = shared.now();
        let channels = now.channels.iter().map(ChannelReport::from).collect();
        json(StatusCode::OK, &ChannelList { timestamp: Stamp(now.at), channels })
    })
}

pub(super) async fn holds(State(shared): State_, request: Request) -> Response {
    see(&shared, &request, |caller| {
        let now = shared.cache.current(&shared.snapshot).report(caller.lines(), &shared.agent);
        json(StatusCode::OK, &json!({ "timestamp": now.timestamp, "holds": now.holds }))
    })
}

#[derive(Deserialize)]
pub(super) struct ExplainQuery {
    check: String,
}

pub(super) async fn explain(State(shared): State_, request: Request) -> Response {
    see(&shared, &request, |caller| {
        let Ok(Query(query)) = Query::<ExplainQuery>::try_from_uri(request.uri()) else {
            let text = "name the check: /api/v1/explain?check=unit:nginx.service";
            return error(StatusCode::BAD_REQUEST, text);
        };
        let now = shared.cache.current(&shared.snapshot).report(caller.lines(), &shared.agent);
        match now.explain(&query.check) {
            Ok(explained) => json(StatusCode::OK, &explained),
            Err(near) => missing(format!("no check is called '{}'", query.check), &near),
        }
    })
}

fn see(shared: &Shared, request: &Request, show: impl FnOnce(Caller) -> Response) -> Response {
    gate::reader(shared, request).map_or_else(|refusal| *refusal, show)
}
