//! The exports of a controller component, whichever version of the contract it was built against: 0.2, or 0.1, which is mapped to it here.
//! Who calls knows of no version.
//!
//! A component of 0.1 says nothing of what it reads, so it is asked about every change, with all of the object. What crosses otherwise is
//! the same in both, but for its Rust types ([`super::older`]).

use pintle_plugin_bindings::controller::pintle::controller::{objects, types};
use pintle_plugin_bindings::controller::{Controller, ControllerPre};
use pintle_plugin_bindings::controller_0_1 as old;
use wasmtime::Store;
use wasmtime::component::{HasData, HasSelf};

use super::older::{self, Older, OlderOf};
use crate::engine::Machine;
use crate::guest::{self, HostState};
use crate::load::{Loaded, Version};

/// A component that is linked.
pub enum Linked<T: Send + 'static> {
    V0_1(old::ControllerPre<HostState<T>>),
    V0_2(ControllerPre<HostState<T>>),
}

/// An instance's exports.
pub enum Exports {
    V0_1(old::Controller),
    V0_2(Controller),
}

/// Who answers a component's questions.
pub trait Answering<T: Send + 'static>: HasData + Send + 'static
where
    for<'a> Self::Data<'a>: objects::Host,
{
    fn of(state: &mut HostState<T>) -> Self::Data<'_>;
}

pub fn link<T: Send + 'static, A: Answering<T>>(machine: &Machine, loaded: &Loaded) -> wasmtime::Result<Linked<T>>
where
    for<'a> A::Data<'a>: objects::Host,
{
    let component = &loaded.component;
    let mut linker = guest::linker::<T>(machine, component)?;
    if loaded.contract.version < Version::new(0, 2, 0) {
        old::pintle::controller::types::add_to_linker::<_, HasSelf<HostState<T>>>(&mut linker, |state| state)?;
        old::pintle::controller::objects::add_to_linker::<_, OlderOf<A>>(&mut linker, |state| Older(A::of(state)))?;
        return Ok(Linked::V0_1(old::ControllerPre::new(linker.instantiate_pre(component)?)?));
    }
    types::add_to_linker::<_, HasSelf<HostState<T>>>(&mut linker, |state| state)?;
    objects::add_to_linker::<_, A>(&mut linker, A::of)?;
    Ok(Linked::V0_2(ControllerPre::new(linker.instantiate_pre(component)?)?))
}

impl<T: Send> types::Host for HostState<T> {}
impl<T: Send> old::pintle::controller::types::Host for HostState<T> {}

impl<T: Send + 'static> Linked<T> {
    pub async fn instantiate_async(&self, store: &mut Store<HostState<T>>) -> wasmtime::Result<Exports> {
        Ok(match self {
            Self::V0_1(linked) => Exports::V0_1(linked.instantiate_async(store).await?),
            Self::V0_2(linked) => Exports::V0_2(linked.instantiate_async(store).await?),
        })
    }
}

impl<T: Send + 'static> Clone for Linked<T> {
    fn clone(&self) -> Self {
        match self {
            Self::V0_1(linked) => Self::V0_1(linked.clone()),
            Self::V0_2(linked) => Self::V0_2(linked.clone()),
        }
    }
}

impl Exports {
    pub async fn call_watches<T: Send + 'static>(&self, store: &mut Store<HostState<T>>) -> wasmtime::Result<Vec<types::Watch>> {
        match self {
            Self::V0_1(exports) => Ok(exports.call_watches(store).await?.into_iter().map(older::watch).collect()),
            Self::V0_2(exports) => exports.call_watches(store).await,
        }
    }

    pub async fn call_route<T: Send + 'static>(
        &self,
        store: &mut Store<HostState<T>>,
        watch: u32,
        before: &[u8],
        after: &[u8],
    ) -> wasmtime::Result<Vec<types::Key>> {
        match self {
            Self::V0_1(exports) => Ok(exports.call_route(store, watch, before, after).await?.into_iter().map(older::key).collect()),
            Self::V0_2(exports) => exports.call_route(store, watch, before, after).await,
        }
    }

    pub async fn call_reconcile<T: Send + 'static>(
        &self,
        store: &mut Store<HostState<T>>,
        key: &types::Key,
    ) -> wasmtime::Result<Result<Option<u64>, types::Failure>> {
        match self {
            Self::V0_1(exports) => Ok(exports.call_reconcile(store, &older::old_key(key)).await?.map_err(older::failure)),
            Self::V0_2(exports) => exports.call_reconcile(store, key).await,
        }
    }
}
