//! The identity of the machine, as its metadata service knows it.

use std::time::Duration;

use reqwest::{Client, StatusCode, Url};

use super::token::{MOST, NO_TOKEN, Token, said};
use crate::engine::Now;
use crate::outbound::{self, Answer, Retry, Secrets, SendError, shown};

/// Asks the metadata service for tokens.
pub(super) struct Managed {
    /// With all that is asked.
    pub(super) url: Url,
    /// Which of the machine's identities; that of the machine itself if not said.
    pub(super) client_id: Option<String>,
    pub(super) client: Client,
    pub(super) timeout: Duration,
}

impl Managed {
    /// A new token.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub(super) async fn fetch(&self, now: Now) -> Result<Token, SendError> {
        let request = self.client.get(self.url.clone()).header("Metadata", "true");
        let response = request.timeout(self.timeout).send().await.map_err(|error| {
            let SendError { retry, text } = outbound::request_error(error, &self.url, self.timeout);
            SendError { retry, text: format!("{NO_TOKEN}: {text}{ELSEWHERE}") }
        })?;
        let answer = Answer::read_up_to(MOST, response, now.wall, Secrets::default()).await;
        let from = shown(&self.url);
        if answer.status == StatusCode::OK {
            return Token::read(&answer, &from, now);
        }
        let said = said(&answer);
        let hint = self.hint(answer.status, &said);
        let said = if said.is_empty() { said } else { format!(": {said}") };
        Err(SendError {
            // All of it can be mended in Azure, without keepwell being told of it.
            retry: Retry::Later(answer.retry_after),
            text: format!("{NO_TOKEN}: {from} answered {}{said}{hint}", answer.status),
        })
    }

    fn hint(&self, status: StatusCode, said: &str) -> &'static str {
        let said = said.to_ascii_lowercase();
        match (status.as_u16(), &self.client_id) {
            (400, _) if said.contains("multiple user assigned") => {
                "; the machine has several identities: set `azure.client_id` to that of one"
            }
            (400, None) if said.contains("not found") => {
                "; the machine has no identity of its own: give it one with `az vm identity \
                 assign`, or set `azure.client_id` to that of an identity that is assigned to it"
            }
            (400, Some(_)) if said.contains("not found") => {
                "; no identity with this `azure.client_id` is assigned to the machine: check it, \
                 or assign it with `az vm identity assign`"
            }
            (400, Some(_)) => "; check `azure.client_id`",
            (403, _) => "; something on this machine keeps it from asking",
            (404, _) => {
                "; the metadata service is being updated, or `azure.metadata` leads elsewhere"
            }
            (410, _) => "; the metadata service is being updated, for 70 s at most",
            (429, _) => "; it was asked too often, also by others on this machine",
            (300..=399, _) => "; this is no metadata service: check `azure.metadata`",
            _ => "",
        }
    }
}

const ELSEWHERE: &str = "; this service is there on virtual machines of Azure only, and no firewall \
                         may be before it: elsewhere set `azure.identity`";
