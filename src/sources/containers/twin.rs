//! Whether an address leads to an engine that is watched by another address already: its containers
//! would be told twice, under two names.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use crate::docker::{Client, DockerError, Engines};

/// What another engine may take to list its containers.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks each engine that was named before this one. Whether that could be told; an engine that does
/// not answer is asked again when it is back.
///
/// # Errors
/// [`DockerError::Twin`] when it is one of them; else when it cannot be asked itself.
pub(super) async fn look(client: &Client, engines: &Engines) -> Result<bool, DockerError> {
    let mut told = true;
    let earlier = engines.earlier(&client.endpoint().name);
    if earlier.is_empty() {
        return Ok(told);
    }
    let own: BTreeSet<String> = client.list().await?.into_iter().collect();
    for other in earlier {
        let Ok(Ok(theirs)) = timeout(LIMIT, other.list()).await else { continue };
        let same = if own.is_empty() || theirs.is_empty() {
            // Hosts made from one image may have one id: where both have containers, these tell.
            match (client.identity().await, timeout(LIMIT, other.identity()).await) {
                (Ok(own), Ok(Ok(theirs))) => own == theirs,
                _ => {
                    told = false;
                    false
                }
            }
        } else {
            theirs.iter().any(|id| own.contains(id))
        };
        if same {
            let at = client.endpoint().address.to_string();
            let (other, name) = (other.endpoint().address.to_string(), &other.endpoint().name);
            return Err(DockerError::Twin { at, other, name: name.to_string() });
        }
    }
    Ok(told)
}
