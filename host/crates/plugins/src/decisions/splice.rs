//! Compilations of an ingress component follow one another with nearly the same objects: what a record has in common with the one before
//! is left out of it, and put back by readers.

use super::record::{Compile, Ref};

/// Leaves out what the compilation before had at the same ends.
pub fn splice(compile: &mut Compile, before: &mut Vec<Ref>) {
    let all = std::mem::take(&mut compile.objects);
    let front = all.iter().zip(before.iter()).take_while(|(a, b)| a == b).count();
    let longest = all.len().min(before.len()) - front;
    let back = all.iter().rev().zip(before.iter().rev()).take(longest).take_while(|(a, b)| a == b).count();
    compile.objects = all[front..all.len() - back].to_vec();
    (compile.front, compile.back) = (u32::try_from(front).unwrap_or(u32::MAX), u32::try_from(back).unwrap_or(u32::MAX));
    *before = all;
}

/// The whole again; see [`splice`].
pub fn unsplice(compile: &Compile, before: &mut Vec<Ref>) -> Option<()> {
    let (front, back) = (compile.front as usize, compile.back as usize);
    let end = before.len().checked_sub(back).filter(|end| *end >= front)?;
    let tail = before.split_off(end);
    before.truncate(front);
    before.extend_from_slice(&compile.objects);
    before.extend(tail);
    Some(())
}
