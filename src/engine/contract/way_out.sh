LC_ALL=C
encode() {
  rest=$1
  while [ -n "$rest" ]; do
    first=${rest%"${rest#?}"}
    rest=${rest#?}
    case $first in
    [A-Za-z0-9]) printf %s "$first" ;;
    *) printf %%%02X $(($(printf %d "'$first") & 255)) ;;
    esac
  done
}
end='
'
user=${EGRESS_PROXY_USERNAME%%"$end"*}
password=${EGRESS_PROXY_PASSWORD%%"$end"*}
unset EGRESS_PROXY_USERNAME EGRESS_PROXY_PASSWORD
cr=$(printf '\r')
user=${user%"$cr"}
if [ -z "$user" ]; then
  echo 'goproxy: the key username of the Secret of spec.upstream.egressProxy is empty' >&2
  exit 1
fi
login=$(encode "$user"):$(encode "${password%"$cr"}")
for name in HTTPS_PROXY HTTP_PROXY https_proxy http_proxy; do
  eval "address=\$$name"
  export "$name=${address%%://*}://$login@${address#*://}"
done
unset LC_ALL user password login address
exec "$@"
