//! The container engines that are watched now, for those who act on containers: the source finds
//! them, and a reload may bring others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::Wall;

use super::{Client, Endpoint};

/// The clients by the names of their endpoints, and up to when each engine has been heard. A clone
/// is the same one.
#[derive(Debug, Clone, Default)]
pub struct Engines(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    clients: BTreeMap<Arc<str>, Arc<Client>>,
    /// Their names as they were added.
    order: Vec<Arc<str>>,
    /// How often one of them has come up.
    openings: u64,
    heard: BTreeMap<Arc<str>, Wall>,
}

impl Engines {
    /// None yet; `heard`: when the last happened that is known of each.
    pub fn new(heard: BTreeMap<Arc<str>, Wall>) -> Self {
        Self(Arc::new(Mutex::new(Inner { heard, ..Inner::default() })))
    }

    /// The client of an endpoint.
    pub fn client(&self, name: &str) -> Option<Arc<Client>> {
        self.with(|inner| inner.clients.get(name).cloned())
    }

    /// Forgets all clients: another configuration is in force, or will be.
    pub fn clear(&self) {
        self.with(|inner| {
            inner.clients.clear();
            inner.order.clear();
        });
    }

    /// Up to when each engine has been heard is this.
    pub fn known_up_to(&self, heard: BTreeMap<Arc<str>, Wall>) {
        self.with(|inner| inner.heard = heard);
    }

    /// Adds an endpoint.
    pub fn add(&self, endpoint: Endpoint) -> Arc<Client> {
        let name = endpoint.name.clone();
        let client = Arc::new(Client::new(endpoint));
        self.with(|inner| {
            inner.order.retain(|known| *known != name);
            inner.order.push(name.clone());
            inner.clients.insert(name, client.clone());
        });
        client
    }

    /// The clients of the endpoints that were added before this one.
    pub fn earlier(&self, name: &str) -> Vec<Arc<Client>> {
        self.with(|inner| {
            let names = inner.order.iter().take_while(|known| &***known != name);
            names.filter_map(|name| inner.clients.get(name).cloned()).collect()
        })
    }

    /// An engine has come up.
    pub fn opened(&self) {
        self.with(|inner| inner.openings += 1);
    }

    /// How often one has.
    pub fn openings(&self) -> u64 {
        self.with(|inner| inner.openings)
    }

    /// When the last happened that is known of an engine's containers, by its clock.
    pub fn heard(&self, name: &str) -> Option<Wall> {
        self.with(|inner| inner.heard.get(name).copied())
    }

    /// The names of those that have been heard, lately or before keepwell started.
    pub fn known(&self) -> BTreeSet<Arc<str>> {
        self.with(|inner| inner.heard.keys().cloned().collect())
    }

    /// Up to when an engine has been heard is this, also when that is earlier than it was: its
    /// clock may have been set back.
    pub fn hear_from(&self, name: &Arc<str>, at: Wall) {
        self.with(|inner| inner.heard.insert(name.clone(), at));
    }

    /// Something happened there.
    pub fn hear(&self, name: &Arc<str>, at: Wall) {
        self.with(|inner| match inner.heard.get_mut(name) {
            Some(last) => *last = at.max(*last),
            None => drop(inner.heard.insert(name.clone(), at)),
        });
    }

    /// An engine is gone for good.
    pub fn forget(&self, name: &Arc<str>) {
        self.with(|inner| inner.heard.remove(name));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
