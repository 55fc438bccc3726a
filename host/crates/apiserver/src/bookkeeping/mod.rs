//! The control loops that are mechanics and not policy: garbage collection, namespaces that end, service accounts.
