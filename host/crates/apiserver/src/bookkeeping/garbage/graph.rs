//! Who owns whom, by uid. Pure: changes in, tasks out.
//!
//! Only objects with owners, and objects that wait for their dependents, have a node; an owner is known by its uid alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pintle_api::GroupVersionResource;
use pintle_api::client::Target;

use super::super::meta::{Metadata, Owner};

pub type Uid = Arc<str>;

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Are the object's owners still there?
    Attempt(Uid),
    /// May the object that waits for its dependents go on?
    Finish(Uid),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub resource: Arc<GroupVersionResource>,
    pub namespace: Option<Box<str>>,
    pub name: Box<str>,
}

#[derive(Default)]
pub struct Graph {
    nodes: HashMap<Uid, Node>,
    owners: HashMap<Uid, Owned>,
    kinds: Vec<Arc<Kind>>,
}

/// An owner's dependents.
#[derive(Default)]
struct Owned {
    /// What they call it; `None`: they do not agree.
    kind: Option<Arc<Kind>>,
    dependents: HashSet<Uid>,
}

#[derive(Debug, PartialEq, Eq)]
struct Kind {
    group: Box<str>,
    kind: Box<str>,
}

struct Node {
    place: Place,
    /// With whether this object holds up the owner's deletion.
    owners: Box<[(Uid, bool)]>,
    waits: bool,
}

impl Place {
    pub fn of(resource: &Arc<GroupVersionResource>, meta: &Metadata) -> Self {
        let namespace = (!meta.namespace.is_empty()).then(|| meta.namespace.as_str().into());
        Self { resource: resource.clone(), namespace, name: meta.name.as_str().into() }
    }
    pub fn target(&self) -> Target {
        Target::object((*self.resource).clone(), self.namespace.as_deref(), &self.name)
    }
}

impl Graph {
    /// Takes over an object's present state. `waits`: it is being deleted and waits for its dependents.
    pub fn seen(&mut self, resource: &Arc<GroupVersionResource>, meta: &Metadata, waits: bool) -> Vec<Task> {
        let mut tasks = Vec::new();
        if meta.owners().is_empty() && !waits {
            // It may have had owners before.
            if self.nodes.contains_key(meta.uid.as_str()) {
                self.remove_node(&meta.uid, &mut tasks);
            }
            return tasks;
        }
        let uid = self.intern(&meta.uid);
        let owners: Box<[(Uid, bool)]> = meta.owners().iter().map(|o| (self.intern(&o.uid), o.block_owner_deletion == Some(true))).collect();
        let old = self.nodes.remove(&uid);
        let old_owners = old.as_ref().map(|n| &*n.owners).unwrap_or_default();
        for (owner, _) in old_owners.iter().filter(|(o, _)| !owners.iter().any(|(n, _)| n == o)) {
            self.unlink(owner, &uid, &mut tasks);
        }
        for (owner, blocks) in old_owners {
            let unblocked = *blocks && owners.iter().any(|(n, b)| n == owner && !b);
            if unblocked && self.is_waiting(owner) {
                tasks.push(Task::Finish(owner.clone()));
            }
        }
        let mut new_owner = false;
        for ((owner, _), named) in owners.iter().zip(meta.owners()) {
            new_owner |= self.link(owner, named, &uid);
        }
        if new_owner || (old.is_none() && !owners.is_empty()) {
            tasks.push(Task::Attempt(uid.clone()));
        }
        if waits {
            tasks.push(Task::Finish(uid.clone()));
        }
        self.nodes.insert(uid, Node { place: Place::of(resource, meta), owners, waits });
        tasks
    }

    /// Takes over that the object is gone.
    pub fn gone(&mut self, uid: &str) -> Vec<Task> {
        let mut tasks = Vec::new();
        self.remove_node(uid, &mut tasks);
        tasks.extend(self.dependents_of(uid).map(|d| Task::Attempt(d.clone())));
        tasks
    }

    pub fn place(&self, uid: &str) -> Option<Place> {
        self.nodes.get(uid).map(|n| n.place.clone())
    }

    /// Each dependent, and whether it holds up the owner's deletion.
    pub fn dependents(&self, uid: &str) -> Vec<(Uid, bool)> {
        let of = self.dependents_of(uid);
        of.map(|d| {
            let owners = self.nodes.get(d).map(|n| &*n.owners).unwrap_or_default();
            (d.clone(), owners.iter().any(|(o, blocks)| &**o == uid && *blocks))
        })
        .collect()
    }

    pub fn has_dependents(&self, uid: &str) -> bool {
        self.dependents_of(uid).next().is_some()
    }

    pub fn has_waiting_dependent(&self, uid: &str) -> bool {
        self.dependents_of(uid).any(|d| self.is_waiting(d))
    }

    /// What to look at once a watch has told a kind's whole state anew: what was not told went unseen, objects and owners alike.
    pub fn untold(&self, resource: &GroupVersionResource, kind: &str, told: &HashSet<Box<str>>) -> Vec<Task> {
        let objects = self.nodes.iter().filter(|(uid, node)| *node.place.resource == *resource && !told.contains(&***uid)).map(|(uid, _)| uid);
        let may_be = |owned: &Owned| owned.kind.as_ref().is_none_or(|named| *named.group == *resource.group && *named.kind == *kind);
        let owners = self.owners.iter().filter(|(uid, owned)| may_be(owned) && !told.contains(&***uid));
        let left_behind = owners.flat_map(|(_, owned)| &owned.dependents);
        objects.chain(left_behind).cloned().map(Task::Attempt).collect()
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = &Uid> {
        self.owners.get(uid).into_iter().flat_map(|owned| &owned.dependents)
    }

    /// True: the two were strangers.
    fn link(&mut self, uid: &Uid, owner: &Owner, dependent: &Uid) -> bool {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let known = self.kinds.iter().find(|known| *known.group == *group && *known.kind == *owner.kind).cloned();
        let kind = known.unwrap_or_else(|| {
            let kind = Arc::new(Kind { group: group.into(), kind: owner.kind.as_str().into() });
            self.kinds.push(kind.clone());
            kind
        });
        let owned = self.owners.entry(uid.clone()).or_insert_with(|| Owned { kind: Some(kind.clone()), ..Owned::default() });
        if owned.kind.as_ref().is_some_and(|named| *named != kind) {
            owned.kind = None;
        }
        owned.dependents.insert(dependent.clone())
    }

    fn is_waiting(&self, uid: &str) -> bool {
        self.nodes.get(uid).is_some_and(|n| n.waits)
    }

    /// One allocation for each uid, however often it is named.
    fn intern(&self, uid: &str) -> Uid {
        let known = self.nodes.get_key_value(uid).map(|(k, _)| k).or_else(|| self.owners.get_key_value(uid).map(|(k, _)| k));
        known.cloned().unwrap_or_else(|| uid.into())
    }

    fn remove_node(&mut self, uid: &str, tasks: &mut Vec<Task>) {
        let Some((uid, node)) = self.nodes.remove_entry(uid) else { return };
        for (owner, _) in &node.owners {
            self.unlink(owner, &uid, tasks);
        }
    }

    fn unlink(&mut self, owner: &Uid, dependent: &Uid, tasks: &mut Vec<Task>) {
        if let Some(owned) = self.owners.get_mut(owner) {
            owned.dependents.remove(dependent);
            if owned.dependents.is_empty() {
                self.owners.remove(owner);
            }
        }
        if self.is_waiting(owner) {
            tasks.push(Task::Finish(owner.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::meta::Owner;
    use super::*;

    fn meta(uid: &str, owners: &[(&str, bool)]) -> Metadata {
        let owners = owners.iter().map(|(uid, blocks)| Owner { uid: (*uid).into(), block_owner_deletion: Some(*blocks), ..Owner::default() });
        Metadata { name: uid.into(), namespace: "a".into(), uid: uid.into(), owner_references: Some(owners.collect()), ..Metadata::default() }
    }

    fn shown(mut tasks: Vec<Task>) -> String {
        tasks.sort_by_key(|t| format!("{t:?}"));
        let each = tasks.iter().map(|t| match t {
            Task::Attempt(uid) => format!("attempt {uid}"),
            Task::Finish(uid) => format!("finish {uid}"),
        });
        each.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_dependents_life() {
        let mut graph = Graph::default();
        let pods = Arc::new(GroupVersionResource::constant("", "v1", "pods"));
        assert_eq!(shown(graph.seen(&pods, &meta("rs", &[]), false)), "");
        assert_eq!(shown(graph.seen(&pods, &meta("p1", &[("rs", true)]), false)), "attempt p1");
        assert_eq!(shown(graph.seen(&pods, &meta("p1", &[("rs", true)]), false)), "", "nothing new");
        assert_eq!(shown(graph.seen(&pods, &meta("p2", &[("rs", false)]), false)), "attempt p2");
        assert_eq!(shown(graph.seen(&pods, &meta("rs", &[]), true)), "finish rs");
        assert!(graph.dependents("rs").iter().filter(|(_, blocks)| *blocks).all(|(uid, _)| &**uid == "p1"));
        assert_eq!(shown(graph.gone("p1")), "finish rs");
        assert_eq!(shown(graph.gone("rs")), "attempt p2");
        assert_eq!(shown(graph.gone("p2")), "");
        assert!(graph.nodes.is_empty() && graph.owners.is_empty());
    }

    #[test]
    fn what_went_while_nobody_watched() {
        let mut graph = Graph::default();
        let pods = Arc::new(GroupVersionResource::constant("", "v1", "pods"));
        let sets = Arc::new(GroupVersionResource::constant("apps", "v1", "replicasets"));
        let owned = |uid: &str, owners: &[(&str, &str)]| {
            let owners = owners.iter().map(|(kind, uid)| Owner {
                api_version: "apps/v1".into(),
                kind: (*kind).into(),
                uid: (*uid).into(),
                ..Owner::default()
            });
            Metadata { name: uid.into(), uid: uid.into(), owner_references: Some(owners.collect()), ..Metadata::default() }
        };
        graph.seen(&pods, &owned("p1", &[("ReplicaSet", "rs1")]), false);
        graph.seen(&pods, &owned("p2", &[("ReplicaSet", "rs2")]), false);
        graph.seen(&pods, &owned("p3", &[("StatefulSet", "ss")]), false);
        let told = |uids: &[&str]| uids.iter().map(|uid| Box::from(*uid)).collect();
        assert_eq!(shown(graph.untold(&sets, "ReplicaSet", &told(&["rs1", "rs2"]))), "");
        assert_eq!(shown(graph.untold(&sets, "ReplicaSet", &told(&["rs2"]))), "attempt p1", "an owner without owners is gone");
        assert_eq!(shown(graph.untold(&pods, "Pod", &told(&["p1", "p3"]))), "attempt p2", "a dependent is gone");
        graph.seen(&pods, &owned("p4", &[("StatefulSet", "rs1")]), false);
        assert_eq!(shown(graph.untold(&sets, "ReplicaSet", &told(&["rs2"]))), "attempt p1, attempt p4", "whatever it is called");
    }

    #[test]
    fn owners_that_change() {
        let mut graph = Graph::default();
        let pods = Arc::new(GroupVersionResource::constant("", "v1", "pods"));
        graph.seen(&pods, &meta("rs", &[]), true);
        graph.seen(&pods, &meta("p", &[("rs", true)]), false);
        assert_eq!(shown(graph.seen(&pods, &meta("p", &[("rs", false)]), false)), "finish rs", "it blocks no more");
        assert_eq!(shown(graph.seen(&pods, &meta("p", &[("other", true)]), false)), "attempt p, finish rs");
        assert_eq!(shown(graph.seen(&pods, &meta("p", &[]), false)), "", "orphaned");
        assert!(graph.place("p").is_none());
    }
}
