//! The plugin runtime as its users meet it: Plugin objects in, conditions and effects out, over an API in memory.

mod admissions;
mod cluster;
mod controllers;
mod decisions;
mod faults;
mod guests;
mod harness;
mod ingresses;
mod loading;
mod peers;
mod profiles;
mod reading;
mod reloads;
mod schedulers;
mod servers;
mod sources;
mod spares;
mod stages;
mod trials;
mod versions;
