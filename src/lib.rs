//! goproxy-operator
