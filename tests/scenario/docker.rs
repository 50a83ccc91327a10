//! What scenarios do with containers, and what the source of containers would see of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::dock::{self, Dock};
use super::{Later, World};
use keepwell::engine::alert::ContainerFacts;
use keepwell::engine::observation::*;

impl World {
    pub(super) fn connect(&mut self) {
        let since = self.engine.containers_since().get("docker").copied();
        let Some(dock) = self.dock.as_mut() else { return };
        let seen = if dock.up {
            dock.connect(since)
        } else {
            let state = PartState::Broken("connection refused".into());
            let round = Round { source: SourceKind::Containers, total: None };
            vec![dock::part(&dock.engine, state), Observation::Round(round)]
        };
        seen.into_iter().for_each(|o| self.see(o));
    }

    /// What happens to containers.
    pub(super) fn docker(&mut self, act: &[&str]) {
        let now = self.now;
        let dock = self.dock.as_mut().expect("there is one");
        dock.at(now.wall);
        let id = |dock: &Dock, name: &str| {
            dock.id(name).unwrap_or_else(|| panic!("no container {name}"))
        };
        let soon = now.boot.after(Duration::from_millis(200));
        match *act {
            ["run", name, ref options @ ..] => {
                let network = options.iter().find_map(|o| o.strip_prefix("net="));
                let network = network.map(|of| id(dock, of));
                let made = dock.create(name, |seen| {
                    seen.network_of = network;
                    let mut labels = BTreeMap::new();
                    for option in options {
                        match *option {
                            "always" => seen.policy = Policy::Always,
                            "on-failure" => seen.policy = Policy::OnFailure(0),
                            "checked" => {
                                let status = Health::Starting;
                                let output = "".into();
                                seen.health = Some(HealthSeen { status, failing: 0, output });
                            }
                            option if option.starts_with("tries=") => {
                                let most = option["tries=".len()..].parse();
                                seen.policy = Policy::OnFailure(most.expect("a number"));
                            }
                            option if option.starts_with("project=") => {
                                let key = "com.docker.compose.project".to_owned();
                                labels.insert(key, option["project=".len()..].to_owned());
                            }
                            option if option.starts_with("cpus=") => {
                                let limit = option["cpus=".len()..].parse();
                                seen.cpu_limit = Some(limit.expect("a number"));
                            }
                            option => {
                                if let Some((key, value)) = option.split_once(':') {
                                    labels.insert(format!("keepwell.{key}"), value.to_owned());
                                }
                            }
                        }
                    }
                    seen.labels = Arc::new(labels);
                });
                dock.start(&made);
            }
            ["create", name] => drop(dock.create(name, |_| {})),
            ["start", name] => dock.start(&id(dock, name)),
            ["stop", name] => dock.stop(&id(dock, name)),
            ["restart", name] => dock.restart(&id(dock, name)),
            ["kill", name, signal] => {
                dock.kill(&id(dock, name), signal.parse().expect("a number"));
            }
            ["rm", name] => dock.remove(&id(dock, name)),
            ["rename", name, to] => dock.rename(&id(dock, name), to),
            ["pause", name] => dock.pause(&id(dock, name), true),
            ["unpause", name] => dock.pause(&id(dock, name), false),
            ["crash", name, code] => {
                let id = id(dock, name);
                dock.crash(&id, code.parse().expect("a number"));
                self.later.push((soon, Later::Again(id)));
            }
            ["fail", "to", "stay", name] => {
                let id = id(dock, name);
                dock.start(&id);
                dock.crash(&id, 1);
            }
            ["starve", name] => {
                let id = id(dock, name);
                dock.starve(&id);
                self.later.push((soon, Later::Again(id)));
                self.starve();
            }
            ["starve", "a", "child", "of", name] => {
                dock.starve_child(&id(dock, name));
                self.starve();
            }
            ["healthy", name] => dock.health(&id(dock, name), Health::Healthy),
            ["unhealthy", name] => dock.health(&id(dock, name), Health::Unhealthy),
            ["hides", name] => dock.hide(&id(dock, name), true),
            ["shows", name] => dock.hide(&id(dock, name), false),
            ["forgets"] => dock.forget(),
            ["dies"] => dock.daemon_dies(false),
            ["dies", "with", "all"] => dock.daemon_dies(true),
            ["dies", "by", "kill"] => dock.daemon_killed(),
            ["comes", "back"] => {
                for id in dock.daemon_starts() {
                    self.later.push((soon, Later::Again(id.clone())));
                    let can = dock.can(&id);
                    can.seen.status = ContainerStatus::Exited;
                }
                return self.connect();
            }
            ["is", "silently", "stopped", name] | ["crashes", "silently", name] => {
                let id = id(dock, name);
                dock.can(&id).seen.silent_stops = true;
                dock.end(&id, if act[0] == "is" { 137 } else { 1 }, true);
            }
            ["is", "recreated", name] => {
                let old = id(dock, name);
                let new = dock.create(&format!("0123456789ab_{name}"), |_| {});
                dock.stop(&old);
                dock.remove(&old);
                dock.rename(&new, name);
                dock.start(&new);
            }
            ["is", "heard", "again"] => return self.connect(),
            ["lists"] => {
                let seen = dock.list();
                return seen.into_iter().for_each(|o| self.see(o));
            }
            ["uses", name, percent, ref how @ ..] => {
                let memory = percent.parse::<u64>().expect("a number") * (4 << 30) / 100;
                let (id, engine) = (id(dock, name), dock.engine.clone());
                let usage = UsageSeen { id, engine, memory: Some(memory), ..UsageSeen::default() };
                let usage = UsageSeen { dies_whole: how == ["whole"], ..usage };
                return self.see(Observation::ContainerUsage(vec![usage]));
            }
            ["computes", name, cpus] => {
                let cpus = Some(cpus.parse().expect("a number"));
                let (id, engine) = (id(dock, name), dock.engine.clone());
                let usage = UsageSeen { id, engine, cpus, ..UsageSeen::default() };
                return self.see(Observation::ContainerUsage(vec![usage]));
            }
            ["is", "said", "to", "be", ref facts @ ..] => {
                let message = self.last.as_ref().expect("a message");
                let known = message.items.iter().find_map(|i| i.alert.container.as_deref());
                let summary = message.items.first().map(|i| i.alert.summary.clone());
                let told = match facts {
                    ["ended", ..] => summary.unwrap_or_default(),
                    _ => known.map(facts_of).unwrap_or_default(),
                };
                if told != facts.join(" ") {
                    self.told.push(format!("{} said to be {told}", self.shown_now()));
                }
                return;
            }
            ["is", "described", "as", ref words @ ..] => {
                if self.described != words.join(" ") {
                    let described = format!("{} described as {}", self.shown_now(), self.described);
                    self.told.push(described);
                }
                return;
            }
            ["is", "purged"] => {
                let state = PartState::Absent("there is no socket".into());
                let seen = dock::part(&dock.engine, state);
                return self.see(seen);
            }
            ["unheard", ref act @ ..] => {
                self.away = true;
                self.docker(act);
                return self.away = false;
            }
            _ => panic!("nobody knows what docker {act:?} is"),
        }
        self.listen();
    }

    /// What the source of containers hears.
    pub(super) fn listen(&mut self) {
        let Some(dock) = self.dock.as_mut() else { return };
        if self.away {
            return dock.unheard();
        }
        if !dock.up {
            let state = PartState::Broken("connection refused".into());
            let seen = dock::part(&dock.engine, state);
            return self.see(seen);
        }
        for seen in dock.fetch() {
            self.see(seen);
        }
    }
}

/// What a message says of a container besides its name: `nginx:alpine shop exit 1`.
fn facts_of(facts: &ContainerFacts) -> String {
    let mut words = vec![facts.image.to_string()];
    words.extend(facts.project.as_ref().map(|project| project.to_string()));
    words.extend(facts.exit_code.map(|code| format!("exit {code}")));
    words.extend((facts.restarts > 0).then(|| format!("restarts {}", facts.restarts)));
    words.extend(facts.health.as_ref().map(|output| format!("because {}", output.trim())));
    words.join(" ")
}
