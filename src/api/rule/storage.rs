//! Forms of what stores modules, and of what locks it.

use super::{Form, LEADS_HOME};

/// A bucket of S3.
pub static BUCKET: Form = Form::matching(
    r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
    "'%s' is no name of a bucket: use lower-case letters, digits, dashes and dots, with a letter or digit at both ends",
);

/// A bucket of Google Cloud Storage.
pub static GCS_BUCKET: Form = Form::matching(
    r"^[a-z0-9]([-._a-z0-9]*[a-z0-9])?$",
    "'%s' is no name of a bucket: use lower-case letters, digits, dashes, underscores and dots, with a letter or digit at both ends",
);

/// An account of Azure Storage.
pub static AZURE_ACCOUNT: Form = Form::matching(
    r"^[a-z0-9]+$",
    "'%s' is no name of a storage account: use lower-case letters and digits, without the domain",
);

/// An identity of Azure.
pub static AZURE_RESOURCE: Form = Form::matching(
    r"^/subscriptions/[-A-Za-z0-9_.()/]+$",
    "'%s' is no resource id: write it as Azure shows it, beginning with /subscriptions/",
);

/// A database or collection.
pub static MONGO_NAME: Form = Form::matching(
    r"^[A-Za-z0-9_][-A-Za-z0-9_]*$",
    "'%s' is no name of a database or collection: use letters, digits, dashes and underscores",
);

/// A user of Redis, or a server's name among sentinels.
pub static REDIS_USER: Form =
    Form::matching(r"^[A-Za-z0-9._-]+$", "'%s' is no name: use letters, digits, dots, dashes and underscores");

/// Where a server listens that has no URL.
pub static HOST_PORT: Form = Form::matching(
    concat!("^(", host!(), "):", port!(), "$"),
    "'%s' is not an address like host.example.com:1234: give a lower-case host or an IP address of four numbers, and a port of 1 to 65535, without a scheme",
);

/// Servers that would have to run in the pod or on its node.
pub static HOST_PORT_LOCAL: Form = Form::free_of(concat!("^", local_host!(), ":"), LEADS_HOME);
