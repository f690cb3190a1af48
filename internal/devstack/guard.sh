# The guard of a stack: `sh -c <this> guard DIR`.
# Its standard input is a pipe whose other end the parent holds. Lines on it:
#   add PID SIGNAL   a server to end with SIGNAL once the parent is gone
#   del PID          it has ended
#   quit             all is in order: leave
# The pipe's end without `quit` means that the parent died. DIR, unless empty, is removed then.
#
# gone PID: its process group is empty, or it is a zombie, which some containers never clear away.
gone() {
	! kill -s 0 -- "-$1" || { read -r _ _ state _ </proc/"$1"/stat && [ "$state" = Z ]; }
}
trap '' INT HUP TERM QUIT
list=
while read -r op pid sig; do
	case $op in
	add) list="$list $pid:$sig" ;;
	del)
		rest=
		for e in $list; do [ "${e%%:*}" = "$pid" ] || rest="$rest $e"; done
		list=$rest
		;;
	quit) exit 0 ;;
	esac
done
for e in $list; do
	kill -s "${e#*:}" "${e%%:*}" && kill -s CONT "${e%%:*}"
done
# Each leads a process group, which holds what it runs. That ends by itself, or is killed.
n=0
while [ $n -lt 100 ]; do
	alive=
	for e in $list; do gone "${e%%:*}" || alive=1; done
	[ -z "$alive" ] && break
	sleep 0.05
	n=$((n + 1))
done
for e in $list; do kill -s KILL -- "-${e%%:*}"; done
[ -z "$1" ] || rm -rf -- "$1" || { sleep 1 && rm -rf -- "$1"; }
