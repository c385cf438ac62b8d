//! Forms of the way out of the cluster.

use super::Form;

/// Address of a proxy on the way out.
pub static EGRESS_ADDRESS: Form = Form::matching(
    r"^https?://([^/]*@)?(([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z]([-a-z0-9]{0,61}[a-z0-9])?|((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])|\[[0-9a-f:]+\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$",
    "'%s' is not the address of a proxy like http://egress.example.com:3128: give http or https, a lower-case host or an IP address of four numbers, and a port of 1 to 65535 if needed, without a path",
);

/// What is reached past such a proxy. Programs read stars in different ways.
pub static NO_PROXY: Form = Form::matching(
    r"^(\.?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z]([-a-z0-9]{0,61}[a-z0-9])?|((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(/([0-9]|[12][0-9]|3[0-2]))?)$",
    "'%s' is no host, domain or network: write it like git.example.com, .example.com (all below it), 10.1.2.3 or 10.0.0.0/8",
);
