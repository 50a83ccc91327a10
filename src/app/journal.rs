//! Decisions in the log: one line each, with fields, so that
//! `journalctl KEEPWELL_CHECK=unit:nginx.service` shows the history of one check.

use crate::engine::words::CheckKind;
use crate::engine::{Decision, Reason, Severity};
use crate::notify::story::clean;

/// Logs a decision at the level that its severity asks for.
pub(super) fn decision(decision: &Decision) {
    let Decision { check, severity, reason, text, .. } = decision;
    // A mount point or a file may be called anything.
    let shown = clean(&check.to_string());
    let unit = (check.kind == CheckKind::Unit).then_some(&*check.name);
    // What keepwell did, or that a person was told, is no worse for being about something bad.
    let notice = matches!(
        reason,
        Reason::Told
            | Reason::Cooldown
            | Reason::NoChannel
            | Reason::RestartScheduled
            | Reason::RestartDone
            | Reason::Restored
            | Reason::BackoffReset
            | Reason::Held
            | Reason::RestartAsked
            | Reason::Acknowledged
            | Reason::Unacknowledged
            | Reason::Silenced
            | Reason::Maintenance
            | Reason::Grouping
            | Reason::Dependant
            | Reason::Settling
            | Reason::PackageUpgrade
            | Reason::HostSleep
            | Reason::HostShutdown
            | Reason::OverBeforeTold
            | Reason::Reminded
            | Reason::Escalated
            | Reason::Verifying
            | Reason::Confirming
    );
    macro_rules! log {
        ($level:ident) => {
            tracing::$level!(
                check = %shown,
                reason = %reason,
                severity = %severity,
                unit,
                "{shown}: {text}"
            )
        };
    }
    match severity {
        Severity::Critical if !notice => log!(error),
        Severity::Warning if !notice => log!(warn),
        _ => log!(info),
    }
}
