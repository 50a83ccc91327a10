//! The first questions to an engine that is there: who it is, what has happened since it was last
//! heard, and what it has.

use std::sync::Arc;
use std::time::Duration;

use crate::docker::{DockerError, Events, Heard, Info};
use crate::engine::Wall;
use crate::engine::observation::EngineAway;

use super::{Watched, host, twin};

/// What an engine said of itself when it was first asked, and what has happened since.
pub(super) struct Opened {
    pub(super) version: String,
    pub(super) podman: bool,
    /// It tells of each health check what that has found.
    pub(super) tells_health: bool,
    pub(super) info: Info,
    /// Why not all is known of its host.
    pub(super) unsaid: Option<DockerError>,
    pub(super) past: Vec<Heard>,
    /// When that was, by the engine's clock.
    now: Option<Wall>,
    /// `None` when it is looked at once.
    pub(super) events: Option<Events>,
    /// Of all its containers.
    pub(super) ids: Vec<String>,
    /// It is no other engine, as of so many openings of engines.
    pub(super) apart: Option<u64>,
    /// The time before, in which it took no requests.
    pub(super) away: Option<EngineAway>,
}

impl Opened {
    /// It was lost so long ago, and has only now come back.
    pub(super) fn was_away(&mut self, engine: &Arc<str>, lasted: Duration) {
        // Podman's containers can be stopped without its service.
        if let Some(to) = self.now.filter(|_| !self.podman) {
            let (engine, from) = (engine.clone(), to.before(lasted));
            self.away = Some(EngineAway { engine, from, to });
        }
    }
}

/// Asks for all that a session begins with. Events are subscribed to before containers are listed,
/// so that nothing is lost between.
pub(super) async fn open(watched: &Watched) -> Result<Opened, DockerError> {
    let Watched { client, engines, settings, .. } = watched;
    let name = &client.endpoint().name;
    let peer = client.greet().await?;
    let (mut info, mut unsaid) = match client.info().await {
        Ok(info) => (info, None),
        // A proxy need not allow it; and a plugin that is broken can make it fail or hang, while all
        // containers are served.
        Err(error) if !error.away() || matches!(error, DockerError::Hangs { .. }) => {
            (Info::default(), Some(error))
        }
        Err(error) => return Err(error),
    };
    if info.cpus == 0 || info.memory == 0 {
        host::complete(&mut info, &client.endpoint().address, &settings.root);
    }
    unsaid = unsaid.filter(|_| info.cpus == 0 || info.memory == 0);
    let openings = engines.openings();
    let apart = twin::look(client, engines).await?.then_some(openings);
    let now = info.time.or(peer.time);
    let (mut past, mut events) = (Vec::new(), None);
    let (mut asked, mut hangs) = (false, false);
    if !watched.context.once {
        match (engines.heard(name), now) {
            (Some(since), Some(now)) if since <= now => {
                asked = true;
                match client.past(since.max(now.before(settings.past)), now).await {
                    Ok(all) => past = all,
                    // It would hang again the next time: what has come of its containers, looks tell.
                    Err(DockerError::Hangs { .. }) => hangs = true,
                    Err(error) => return Err(error),
                }
            }
            // The first time; or its clock was set back, and an engine refuses to be asked for what
            // is to come.
            (_, Some(now)) => engines.hear_from(name, now),
            (_, None) => {}
        }
        events = Some(client.events(now).await?);
        if peer.podman && !asked {
            client.may_hear(now).await?;
        }
    }
    let ids = client.list().await?;
    client.may_look(&ids).await?;
    if let Some(now) = now.filter(|_| hangs) {
        engines.hear_from(name, now);
        tracing::warn!(
            engine = &**name,
            "what happened before now takes the engine too long to tell; it is taken from how its \
             containers are"
        );
    }
    Ok(Opened {
        tells_health: peer.tells_health(),
        version: peer.version,
        podman: peer.podman,
        info,
        unsaid,
        past,
        now,
        events,
        ids,
        apart,
        away: None,
    })
}
