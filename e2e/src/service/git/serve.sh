#!/bin/sh
# What a key may do: read a repository. The words between @ are filled in by the lab; $1 is the name of the key.
case $SSH_ORIGINAL_COMMAND in
"git-upload-pack '/"*".git'") ;;
*) echo "only fetching is allowed" >&2; exit 1 ;;
esac
path=${SSH_ORIGINAL_COMMAND#"git-upload-pack '"}
path=${path%"'"}
case $path in *..* | *[!A-Za-z0-9/._-]*) echo "no such repository" >&2; exit 1 ;; esac
printf '{"time":%s,"method":"SSH","path":"%s","status":200,"bytes":0,"client":"%s","agent":"%s"}\n' \
    "$(date +%s.%3N)" "$path" "${SSH_CLIENT%% *}" "$1" >>"@LOG@"
exec git-upload-pack --strict "@REPOSITORIES@$path"
