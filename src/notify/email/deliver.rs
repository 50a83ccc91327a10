//! The conversation with an SMTP relay: one connection, one mail, all recipients. What an answer
//! means for the channel is said in `answer`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters, TlsParametersBuilder,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use tokio::time::timeout;

use super::answer::{Refusal, Said};
use super::settings::{Settings, Tls};
use crate::config::Secret;

/// How long one address of the relay may take to take a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a polite end of the conversation may take: the mail has been taken by then.
const QUIT: Duration = Duration::from_secs(2);

/// How far a conversation got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// To the greeting, with implicit TLS before it.
    Connect,
    Starttls,
    Login,
    Sender,
    Recipients,
    /// The mail itself.
    Content,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::Connect, Self::Starttls, Self::Login, Self::Sender, Self::Recipients, Self::Content];

    /// What was waited for.
    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Connect => "waiting for its greeting",
            Self::Starttls => "setting up TLS",
            Self::Login => "logging in",
            Self::Sender => "naming the sender",
            Self::Recipients => "naming the recipients",
            Self::Content => "handing over the mail",
        }
    }
}

/// An SMTP relay.
pub(super) struct Relay {
    host: String,
    port: u16,
    tls: Tls,
    login: Option<(String, Secret)>,
    roots: Vec<Certificate>,
    limit: Duration,
    /// Made when first needed: it reads the host's certificates.
    parameters: OnceLock<TlsParameters>,
    stage: AtomicU8,
}

/// A mail that the relay took, at least for some.
#[derive(Debug)]
pub(super) struct Receipt {
    /// What the relay said.
    pub answer: String,
    /// For whom it took it.
    pub taken: Vec<Address>,
    /// Whom it refuses for now, each with its words.
    pub later: Vec<String>,
    /// What else a person should know, such as recipients that were refused for good.
    pub remarks: Vec<String>,
}

impl Receipt {
    pub(super) fn new(answer: String, taken: Vec<Address>, refused: Vec<(Address, Said)>) -> Self {
        let (mut later, mut remarks) = (Vec::new(), Vec::new());
        for (recipient, said) in refused {
            let text = format!("{recipient}: {said}");
            if said.is_passing() {
                later.push(text);
            } else {
                remarks.push(format!("refused for good: {text}"));
            }
        }
        Self { answer, taken, later, remarks }
    }

    pub(super) fn into_text(self) -> String {
        let mut text = self.answer;
        for part in self.remarks.iter().chain(&self.later) {
            text.push_str("; ");
            text.push_str(part);
        }
        text
    }
}

impl Relay {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            host: settings.host.clone(),
            port: settings.port,
            tls: settings.tls,
            login: settings.login.clone(),
            roots: settings.roots.clone(),
            limit: settings.timeout,
            parameters: OnceLock::new(),
            stage: AtomicU8::new(0),
        }
    }

    /// `host:port`.
    pub(super) fn shown(&self) -> String {
        shown(&self.host, self.port)
    }

    /// Hands over a mail, within the channel's time limit or `most`.
    ///
    /// # Errors
    /// When the relay took it for nobody.
    pub(super) async fn deliver(
        &self,
        hello: &str,
        sender: &Address,
        recipients: &[Address],
        mail: &[u8],
        most: Duration,
    ) -> Result<Receipt, Refusal> {
        let mut connection = None;
        let work = async {
            self.at(Stage::Connect);
            let hello = ClientId::Domain(hello.to_owned());
            let connection = connection.insert(self.connect(&hello).await?);
            self.talk(connection, sender, recipients, mail).await
        };
        let result = timeout(self.limit.min(most), work).await.unwrap_or_else(|_| {
            let at = usize::from(self.stage.load(Ordering::Relaxed));
            Err(Refusal::Slow(Stage::ALL.get(at).copied().unwrap_or(Stage::Connect)))
        });
        if let Some(mut connection) = connection
            && !matches!(result, Err(Refusal::Slow(_)))
        {
            // The outcome is known; a relay that hangs now changes nothing of it.
            let _ = timeout(QUIT, connection.quit()).await;
        }
        result
    }

    fn at(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// To where mail can be handed over: encrypted, if so configured, and logged in.
    async fn connect(&self, hello: &ClientId) -> Result<AsyncSmtpConnection, Refusal> {
        let failed = |stage| move |error| Refusal::of(stage, &error);
        let parameters = match self.tls {
            Tls::None => None,
            Tls::Starttls | Tls::Implicit => Some(self.parameters()?),
        };
        let at_once = if self.tls == Tls::Implicit { parameters.clone() } else { None };
        let server = (self.host.as_str(), self.port);
        let limit = Some(CONNECT.min(self.limit));
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, limit, hello, at_once, None)
                .await
                .map_err(failed(Stage::Connect))?;
        if let (Tls::Starttls, Some(parameters)) = (self.tls, parameters) {
            self.at(Stage::Starttls);
            if !connection.can_starttls() {
                let _ = timeout(QUIT, connection.quit()).await;
                return Err(Refusal::NoStarttls);
            }
            connection.starttls(parameters, hello).await.map_err(failed(Stage::Starttls))?;
        }
        if let Some((user, password)) = &self.login {
            self.at(Stage::Login);
            let known = [Mechanism::Plain, Mechanism::Login];
            if connection.server_info().get_auth_mechanism(&known).is_none() {
                let _ = timeout(QUIT, connection.quit()).await;
                return Err(Refusal::NoLogin);
            }
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            connection.auth(&known, &credentials).await.map_err(failed(Stage::Login))?;
        }
        Ok(connection)
    }

    async fn talk(
        &self,
        connection: &mut AsyncSmtpConnection,
        sender: &Address,
        recipients: &[Address],
        mail: &[u8],
    ) -> Result<Receipt, Refusal> {
        let failed = |stage| move |error| Refusal::of(stage, &error);
        self.at(Stage::Sender);
        let from = Mail::new(Some(sender.clone()), Vec::new());
        connection.command(from).await.map_err(failed(Stage::Sender))?;
        self.at(Stage::Recipients);
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for recipient in recipients {
            match connection.command(Rcpt::new(recipient.clone(), Vec::new())).await {
                Ok(_) => taken.push(recipient.clone()),
                Err(error) => match Said::of(&error) {
                    // 421: it closes the connection.
                    Some(said) if said.code != 421 => refused.push((recipient.clone(), said)),
                    _ => return Err(Refusal::of(Stage::Recipients, &error)),
                },
            }
        }
        if taken.is_empty() {
            return Err(Refusal::Nobody(refused));
        }
        self.at(Stage::Content);
        connection.command(Data).await.map_err(failed(Stage::Content))?;
        let response = connection.message(mail).await.map_err(failed(Stage::Content))?;
        Ok(Receipt::new(words(&response), taken, refused))
    }

    fn parameters(&self) -> Result<TlsParameters, Refusal> {
        if let Some(made) = self.parameters.get() {
            return Ok(made.clone());
        }
        let builder = || {
            let builder = TlsParametersBuilder::new(self.host.clone());
            self.roots.iter().cloned().fold(builder, TlsParametersBuilder::add_root_certificate)
        };
        // A host without root certificates may still have those of the `ca` key.
        let made = builder()
            .build()
            .or_else(|_| builder().certificate_store(CertificateStore::None).build())
            .map_err(|error| Refusal::Unmade(error.to_string()))?;
        Ok(self.parameters.get_or_init(|| made).clone())
    }
}

/// `host:port`, also for an IPv6 address.
pub(super) fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn words(response: &Response) -> String {
    let text: Vec<&str> = response.message().collect();
    format!("{} {}", response.code(), super::answer::brief(&text.join(" ")))
}
