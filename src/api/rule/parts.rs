//! Parts that several patterns are made of. Macros, because a pattern is put together when this is compiled.

/// A name of a host. One whose last part begins with a digit is an address in some programs' eyes, so none may do that.
macro_rules! name {
    () => {
        r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
    };
}

/// An IPv4 address of four numbers.
macro_rules! ipv4 {
    () => {
        r"((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    };
}

/// A name or such an address.
macro_rules! host {
    () => {
        concat!(name!(), "|", ipv4!())
    };
}

/// A port of 1 to 65535.
macro_rules! port {
    () => {
        r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    };
}

/// Hosts that lead back to the pod or to services of the node.
macro_rules! local_host {
    () => {
        r"(([^/:]*\.)?localhost|127\.[0-9.]+|0\.[0-9.]+|169\.254\.[0-9.]+|2(2[4-9]|[3-5][0-9])\.[0-9.]+)"
    };
}
