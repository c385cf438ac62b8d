//! The table of the families: where each one's pinned module is and what is built from it.

use super::Family;

/// Where a value that is linked into a binary comes from.
#[derive(Clone, Copy)]
pub(super) enum Stamp {
    /// `v1.2.3`.
    Version,
    /// `1`.
    Major,
    /// `2`.
    Minor,
    /// When the release was made, so that two builds of it are the same.
    Date,
    /// The tree that a module zip holds.
    Archive,
}

/// The fixed parts of a family: its directory with the two files in it, then what is built from it.
pub(super) struct Spec {
    pub(super) dir: &'static str,
    pub(super) go_mod: &'static str,
    pub(super) go_sum: &'static str,
    pub(super) module: &'static str,
    /// File name and package.
    pub(super) binaries: &'static [(&'static str, &'static str)],
    /// Linker variable and value.
    pub(super) stamps: &'static [(&'static str, Stamp)],
    /// A program around the module that lies beside its `go.mod`, where the module's own cannot be built from it.
    pub(super) own_program: Option<&'static str>,
}

/// Names the directory once for both of its files.
macro_rules! spec {
    ($dir:literal, $module:literal, $binaries:expr, $stamps:expr $(,)?) => {
        Spec {
            dir: $dir,
            go_mod: include_str!(concat!("../../tools/", $dir, "/go.mod")),
            go_sum: include_str!(concat!("../../tools/", $dir, "/go.sum")),
            module: $module,
            binaries: $binaries,
            stamps: $stamps,
            own_program: None,
        }
    };
}

/// Without these a server reports an empty minor, which breaks whatever compares versions.
const KUBERNETES_STAMPS: &[(&str, Stamp)] = &[
    ("k8s.io/component-base/version.gitVersion", Stamp::Version),
    ("k8s.io/component-base/version.gitMajor", Stamp::Major),
    ("k8s.io/component-base/version.gitMinor", Stamp::Minor),
    ("k8s.io/component-base/version.gitTreeState", Stamp::Archive),
    ("k8s.io/component-base/version.buildDate", Stamp::Date),
    ("k8s.io/client-go/pkg/version.gitVersion", Stamp::Version),
    ("k8s.io/client-go/pkg/version.gitMajor", Stamp::Major),
    ("k8s.io/client-go/pkg/version.gitMinor", Stamp::Minor),
    ("k8s.io/client-go/pkg/version.gitTreeState", Stamp::Archive),
    ("k8s.io/client-go/pkg/version.buildDate", Stamp::Date),
];

const ATHENS_BINARIES: &[(&str, &str)] = &[("athens-proxy", "github.com/gomods/athens/cmd/proxy")];

/// `GET /version` of an unstamped Athens is empty.
const ATHENS_STAMPS: &[(&str, Stamp)] = &[
    ("github.com/gomods/athens/pkg/build.version", Stamp::Version),
    ("github.com/gomods/athens/pkg/build.buildDate", Stamp::Date),
];

static KUBERNETES: Spec = spec!(
    "kubernetes",
    "k8s.io/kubernetes",
    &[
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
    KUBERNETES_STAMPS,
);

static KUBERNETES_1_33: Spec = spec!(
    "kubernetes-v1.33",
    "k8s.io/kubernetes",
    &[
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
    KUBERNETES_STAMPS,
);

static ETCD: Spec = spec!("etcd", "go.etcd.io/etcd/server/v3", &[("etcd", "go.etcd.io/etcd/server/v3")], &[]);

static COREDNS: Spec =
    spec!("coredns", "github.com/coredns/coredns", &[("coredns", "github.com/coredns/coredns")], &[]);

static KWOK: Spec = spec!(
    "kwok",
    "sigs.k8s.io/kwok",
    &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")],
    &[("sigs.k8s.io/kwok/pkg/consts.Version", Stamp::Version)],
);

static KUBE_ROUTER: Spec = spec!(
    "kube-router",
    "github.com/cloudnativelabs/kube-router/v2",
    &[("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router")],
    &[
        ("github.com/cloudnativelabs/kube-router/v2/pkg/version.Version", Stamp::Version),
        ("github.com/cloudnativelabs/kube-router/v2/pkg/version.BuildDate", Stamp::Date),
    ],
);

static METRICS_SERVER: Spec = spec!(
    "metrics-server",
    "sigs.k8s.io/metrics-server",
    &[("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server")],
    &[
        ("k8s.io/client-go/pkg/version.gitVersion", Stamp::Version),
        ("k8s.io/client-go/pkg/version.gitTreeState", Stamp::Archive),
        ("k8s.io/client-go/pkg/version.buildDate", Stamp::Date),
    ],
);

static LOCAL_PATH_PROVISIONER: Spec = spec!(
    "local-path-provisioner",
    "github.com/rancher/local-path-provisioner",
    &[("local-path-provisioner", "github.com/rancher/local-path-provisioner")],
    &[("main.VERSION", Stamp::Version)],
);

static ATHENS: Spec = spec!("athens", "github.com/gomods/athens", ATHENS_BINARIES, ATHENS_STAMPS);

static ATHENS_0_18_0: Spec = spec!("athens-v0.18.0", "github.com/gomods/athens", ATHENS_BINARIES, ATHENS_STAMPS);

static GOPROXY: Spec = spec!(
    "goproxy",
    "github.com/goproxy/goproxy",
    &[("goproxy", "github.com/goproxy/goproxy/cmd/goproxy")],
    &[("github.com/goproxy/goproxy/cmd/goproxy/internal.Version", Stamp::Version)],
);

static HELM: Spec = spec!(
    "helm",
    "helm.sh/helm/v3",
    &[("helm", "helm.sh/helm/v3/cmd/helm")],
    &[("helm.sh/helm/v3/internal/version.version", Stamp::Version)],
);

static VERSITYGW: Spec = spec!(
    "versitygw",
    "github.com/versity/versitygw",
    &[("versitygw", "github.com/versity/versitygw/cmd/versitygw")],
    &[("main.Version", Stamp::Version)],
);

static FAKE_GCS_SERVER: Spec = spec!(
    "fake-gcs-server",
    "github.com/fsouza/fake-gcs-server",
    &[("fake-gcs-server", "github.com/fsouza/fake-gcs-server")],
    &[],
);

/// FerretDB's own program wants files that only a checkout of its repository has.
static FERRETDB: Spec = Spec {
    own_program: Some(include_str!("../../tools/ferretdb/main.go")),
    ..spec!("ferretdb", "github.com/FerretDB/FerretDB", &[("ferretdb", "goproxy.rs/e2e/tools/ferretdb")], &[])
};

impl Family {
    pub(super) fn spec(self) -> &'static Spec {
        match self {
            Self::Kubernetes => &KUBERNETES,
            Self::Kubernetes133 => &KUBERNETES_1_33,
            Self::Etcd => &ETCD,
            Self::CoreDns => &COREDNS,
            Self::Kwok => &KWOK,
            Self::KubeRouter => &KUBE_ROUTER,
            Self::MetricsServer => &METRICS_SERVER,
            Self::LocalPathProvisioner => &LOCAL_PATH_PROVISIONER,
            Self::Athens => &ATHENS,
            Self::Athens0180 => &ATHENS_0_18_0,
            Self::Goproxy => &GOPROXY,
            Self::Helm => &HELM,
            Self::VersityGw => &VERSITYGW,
            Self::FakeGcsServer => &FAKE_GCS_SERVER,
            Self::FerretDb => &FERRETDB,
        }
    }
}
