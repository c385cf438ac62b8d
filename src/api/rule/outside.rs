//! Forms of what lies outside of the cluster: Git servers, their users, and the way out.

use super::Form;

/// Host of a Git server. The first element of a module path has a dot, and so has it.
pub static GIT_HOST: Form = Form::matching(
    r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]([-a-z0-9]{0,61}[a-z0-9])?$",
    "'%s' is no host like git.example.com: give a lower-case name with a dot in it, without scheme, port, path or user",
);

/// Names that lead back to the pod.
pub static GIT_HOST_LOCAL: Form =
    Form::free_of(r"\.localhost$", "'%s' leads to the proxy's own pod: name a host outside of it");

/// A user of a Git server. Programs would take a dash at its start for an option.
pub static LOGIN_NAME: Form = Form::matching(
    r"^[A-Za-z0-9_][-A-Za-z0-9._]*$",
    "'%s' is no user name: use letters, digits, dots, dashes and underscores, with no dash or dot at the start",
);

/// Path of a module, with something below its host.
pub static MODULE_PATH: Form = Form::matching(
    r"^[a-z0-9][-a-z0-9.]*(/[A-Za-z0-9_~]([A-Za-z0-9._~-]*[A-Za-z0-9_~-])?)+$",
    "'%s' is no path of a module: write it as it stands in a go.mod, like git.example.com/team/lib",
);

/// Address of a proxy on the way out.
pub static EGRESS_ADDRESS: Form = Form::matching(
    concat!(r"^https?://([^/]*@)?(", host!(), r"|\[[0-9a-f:]+\])(:", port!(), ")?$"),
    "'%s' is not the address of a proxy like http://egress.example.com:3128: give http or https, a lower-case host or an IP address of four numbers, and a port of 1 to 65535 if needed, without a path",
);

/// What is reached past such a proxy. Programs read stars in different ways.
pub static NO_PROXY: Form = Form::matching(
    concat!(r"^(\.?", name!(), "|", ipv4!(), "(/([0-9]|[12][0-9]|3[0-2]))?)$"),
    "'%s' is no host, domain or network: write it like git.example.com, .example.com (all below it), 10.1.2.3 or 10.0.0.0/8",
);
