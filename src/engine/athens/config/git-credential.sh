# Answers git, and the go command by way of git, from the files of mounted Secrets: sh git-credential WAY DIRECTORY get.
# The files are read at every call, so a Secret that changes counts for the next fetch. Values go from file to pipe and
# are in no argument and no environment. Only what a shell has built in is used: an image need not have anything else.

[ "$3" = get ] || exit 0

host=
while IFS='=' read -r key value; do
  [ "$key" = host ] && host=${value%%:*}
done
directory=$2/$host

give_up() {
  echo "goproxy: no login for $host: $1 (spec.private.credentials)" >&2
  echo quit=1
  exit 1
}

# The first line of a file, with or without a line feed at its end.
first_line() {
  [ -r "$directory/$1" ] || give_up "its Secret is missing, or has no key $1"
  line=
  IFS= read -r line <"$directory/$1" || :
  line=${line%"$cr"}
  [ -n "$line" ] || give_up "the key $1 of its Secret is empty"
}
cr=$(printf '\r')

case $1 in
basic)
  first_line username
  user=$line
  first_line password
  printf 'username=%s\npassword=%s\n' "$user" "$line"
  ;;
token)
  first_line token
  printf 'password=%s\n' "$line"
  ;;
app)
  # The sidecar of this pod renames it into place: it is whole.
  directory=$2
  [ -r "$directory/$host" ] || give_up "there is no token of its GitHub App yet, and the log of the container sidecar tells why"
  first_line "$host"
  printf 'password=%s\n' "$line"
  ;;
netrc)
  [ -r "$directory/.netrc" ] || give_up "its Secret is missing, or has no key .netrc"
  set -f
  ours=no next= user= password=
  while read -r line || [ -n "$line" ]; do
    case $line in \#*) continue ;; esac
    for word in ${line%"$cr"}; do
      case $next in
      machine)
        # The first entry of a host counts.
        [ -n "$password" ] && break 2
        ours=no
        [ "$word" = "$host" ] && ours=yes
        next=
        ;;
      login)
        [ $ours = yes ] && user=$word
        next=
        ;;
      password)
        [ $ours = yes ] && password=$word
        next=
        ;;
      account) next= ;;
      *)
        case $word in
        machine | login | password | account) next=$word ;;
        default) ours=no ;;
        esac
        ;;
      esac
    done
  done <"$directory/.netrc"
  [ -n "$user" ] && [ -n "$password" ] || give_up "the key .netrc of its Secret has no machine $host with login and password"
  printf 'username=%s\npassword=%s\n' "$user" "$password"
  ;;
esac
