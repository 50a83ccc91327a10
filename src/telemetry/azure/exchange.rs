//! Tokens of Entra ID, for those who have something to show for it: the secret of an application,
//! or the token of a workload that some other authority has signed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, Url};

use super::token::{MOST, NO_TOKEN, Token, said};
use crate::config::Secret;
use crate::engine::Now;
use crate::outbound::{self, Answer, Retry, SendError, Way, file, shown};

const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Asks Entra ID for tokens.
pub(super) struct Exchange {
    pub(super) url: Url,
    pub(super) client_id: String,
    /// Whom they are for.
    pub(super) audience: &'static str,
    pub(super) proof: Proof,
    pub(super) way: Way,
    pub(super) timeout: Duration,
}

/// What shows who we are.
pub(super) enum Proof {
    /// The secret of an application.
    Secret(Secret),
    /// A file with a token, which somebody else keeps fresh.
    File(PathBuf),
}

impl Exchange {
    /// As the configuration calls it.
    pub(super) fn name(&self) -> &'static str {
        match self.proof {
            Proof::Secret(_) => "client-secret",
            Proof::File(_) => "workload",
        }
    }

    /// A new token.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub(super) async fn fetch(&self, now: Now) -> Result<Token, SendError> {
        let shown_proof = match &self.proof {
            Proof::Secret(secret) => secret.clone(),
            Proof::File(path) => read(path)?,
        };
        let mut secrets = self.way.secrets.clone();
        secrets.add(shown_proof.expose());
        let mut form = self.url.clone();
        {
            let mut pairs = form.query_pairs_mut();
            pairs
                .clear()
                .append_pair("client_id", &self.client_id)
                .append_pair("grant_type", "client_credentials")
                .append_pair("scope", &format!("{}/.default", self.audience));
            match &self.proof {
                Proof::Secret(_) => pairs.append_pair("client_secret", shown_proof.expose()),
                Proof::File(_) => pairs
                    .append_pair("client_assertion_type", JWT)
                    .append_pair("client_assertion", shown_proof.expose()),
            };
        }
        let body = form.query().unwrap_or_default().to_owned();
        let request = self.way.client.post(self.url.clone());
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let response = request
            .header(CONTENT_TYPE, form_type)
            .timeout(self.timeout)
            .body(body)
            .send()
            .await
            .map_err(|error| {
                let SendError { retry, text } =
                    outbound::request_error(error, &self.url, self.timeout);
                SendError { retry, text: format!("{NO_TOKEN}: {text}") }
            })?;
        let answer = Answer::read_up_to(MOST, response, now.wall, secrets).await;
        let from = shown(&self.url);
        if answer.status == StatusCode::OK {
            return Token::read(&answer, &from, now);
        }
        let said = said(&answer);
        let (wrong, hint) = self.hint(&said);
        let said = if said.is_empty() { said } else { format!(": {said}") };
        let retry = if wrong { Retry::Stop } else { Retry::Later(answer.retry_after) };
        let text = format!("{NO_TOKEN}: {from} answered {}{said}{hint}", answer.status);
        Err(SendError { retry, text })
    }

    /// Whether only another configuration helps, and what to do.
    fn hint(&self, said: &str) -> (bool, &'static str) {
        let digits = said.split("AADSTS").nth(1).unwrap_or_default();
        let code = digits.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        match code {
            "7000215" => (
                true,
                "; `azure.client_secret` must be the value of the secret, which is shown once \
                 when it is made, and not its id",
            ),
            "7000222" => (true, "; make a new secret and set `azure.client_secret`"),
            "700016" => (false, "; check `azure.client_id` and `azure.tenant_id`"),
            "90002" | "900023" => (false, "; check `azure.tenant_id`"),
            "70021" | "700211" | "700212" | "700213" => (
                false,
                "; the application needs a federated credential with the issuer, subject and \
                 audience of the token in `azure.token_file`",
            ),
            "700024" => {
                (false, "; the token in `azure.token_file` is old, or the clock of this host wrong")
            }
            _ => (false, ""),
        }
    }
}

/// Reads the token of the workload.
fn read(path: &Path) -> Result<Secret, SendError> {
    let bad = |why: String| SendError {
        retry: Retry::Later(None),
        text: format!("{NO_TOKEN}: `azure.token_file`: {} {why}", path.display()),
    };
    let bytes = file::read(path, super::MOST_OF_A_FILE)
        .map_err(|error| bad(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| bad("is no text".into()))?;
    match text.trim() {
        "" => Err(bad("is empty".into())),
        text => Ok(Secret::new(text)),
    }
}
