//! Reads the logs of containers for those who ask over HTTP, by the engines that are watched now.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::actions::{ContainerRestarter, NoLog};
use crate::surfaces::http::{LogRefusal, LogRequest};

/// Logs read at a time.
const READS: usize = 4;

/// Whoever asked has an answer after this.
const LIMIT: Duration = Duration::from_secs(14);

/// Answers until told to stop.
pub(super) async fn reading(
    mut asked: mpsc::Receiver<LogRequest>,
    containers: ContainerRestarter,
    stop: CancellationToken,
) {
    let mut reads = JoinSet::new();
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => return,
            request = asked.recv(), if reads.len() < READS => request,
            // What has been answered is forgotten.
            Some(_) = reads.join_next() => continue,
        };
        let Some(LogRequest { engine, id, lines, reply }) = request else { return };
        let containers = containers.clone();
        reads.spawn_local(async move {
            let read = timeout(LIMIT, containers.log(&engine, &id, lines, None)).await;
            let late = "its engine did not hand out the log within 14 s";
            let answer = match read {
                Ok(Ok(lines)) => Ok(lines),
                Ok(Err(NoLog::Removed(why))) => Err(LogRefusal::Removed(why)),
                Ok(Err(NoLog::NotKept(why))) => Err(LogRefusal::NotKept(why)),
                Ok(Err(NoLog::Failed(why))) => Err(LogRefusal::Failed(why)),
                Err(_) => Err(LogRefusal::Failed(late.to_owned())),
            };
            // Who asked may have gone away.
            let _ = reply.send(answer);
        });
    }
}
