//! Long feeds in pieces: of what is read from objects no more lies around than is fed or written down at a time. Called by schedulers and by
//! the decision log.

/// So many of what is left. The list does not grow on its way: each size that it passed through would leave memory behind.
pub fn some_of<T>(all: &mut impl Iterator<Item = T>, most: usize) -> Vec<T> {
    let mut some = Vec::with_capacity(most);
    some.extend(all.take(most));
    some
}
