//! A cluster in memory for native tests of controllers.
