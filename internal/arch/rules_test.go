package arch

// row says what one package may import of the project.
type row struct {
	// pkg is the folder of the package, relative to the root of the tree. Here and in may, "x/*" is x and all below it,
	// and "*/x" is the package x below any domain package.
	pkg string
	may []string
	why string
}

// Sets that several rows share.
const (
	// leaves stands for the packages under internal that any layer but the core may use: all but those in notLeaves.
	leaves = "internal/*"
	// everything is for the one place that wires.
	everything = "*"
)

// values are the packages that hold types and arithmetic only: the project's own standard library. span does no I/O: a span is a
// value that somebody else may look at.
var values = []string{"internal/money", "internal/fault", "internal/telemetry/span"}

// notLeaves are the packages under internal that only the named ones may import.
var notLeaves = map[string][]string{
	"internal/arch":     {},
	"internal/devstack": {"internal/testenv", "internal/torture", "cmd"}, // starts servers: nothing that serves depends on it
	"internal/testenv":  {},                                              // test files only, see mayTest

	"internal/openbandit":          {"internal/openbandit/postgres", "internal/modelbench", "cmd"}, // a driver of the server, no part of it
	"internal/openbandit/postgres": {"cmd"},

	"internal/modelbench": {"cmd"}, // measures ranking

	// Ends processes at named places in builds with the tag faults, and is empty otherwise. The core never names a place to die at.
	"internal/failpoint": {"event", "budget/postgres", "internal/torture"},
	"internal/netfault":  {"internal/torture"}, // breaks connections on purpose

	// Compares ways to match ads; targeting's own benchmarks use its market.
	"internal/targetbench":          {"internal/targetbench/redis", "internal/targetbench/postgres", "targeting", "cmd"},
	"internal/targetbench/redis":    {"cmd"},
	"internal/targetbench/postgres": {"cmd"},

	// Makes random auctions; the tests of auction/record and its recorder use its market.
	"internal/replaybench": {"auction/record", "auction/recorder", "auction/postgres", "handlers", "cmd"},

	"internal/torture":          {"cmd"}, // as openbandit
	"internal/torture/postgres": {"internal/torture", "cmd"},
}

// directions is the picture of docs/ARCHITECTURE.md as a table. What is not here is not allowed.
var directions = []row{
	{".", nil, "the root holds documents, and at most dependency pins under the build tag deps"},

	{"handlers", with("auction", "auction/record", "campaign", "event", "report", "internal/telemetry"), "decode, call one method, encode"},
	{"auction", with("targeting", "budget", "ranking", "campaign"), "the order of an ad request's steps lives here"},
	{"auction/record", with("auction", "targeting", "ranking", "campaign"), "writes decisions down and makes them again"},
	{"auction/recorder", with("auction", "auction/record", "campaign"), "the half of recording that lives in wall-clock time; only cmd starts it"},
	{"targeting", with("campaign"), "reads what advertisers wrote; never the other way round"},
	{"targeting/indexer", with("targeting", "campaign"), "the half of targeting that lives in wall-clock time; only cmd starts it"},
	{"budget", with("campaign"), "needs the ids of budgets and accounts"},
	{"budget/keeper", with("budget", "campaign"), "the half of budget that lives in wall-clock time; only cmd starts it"},
	{"budget/model", with("budget", "campaign"), "runs the rules in virtual time; only cmd starts it"},
	{"ranking", with("campaign"), "scores ads"},
	{"ranking/trainer", with("ranking", "campaign"), "the half of ranking that lives in wall-clock time; only cmd starts it"},
	{"pacing", with("campaign"), "moves the bids that advertisers leave to Gavel"},
	{"campaign", with(), "what advertisers manage stands under everything else"},
	{"event", with("budget", "campaign"), "an event is billed to a lease, for an ad that budget names by campaign's ids"},
	{"report", with("campaign"), "reports are about campaigns"},

	{"migrations", nil, "the schema must outlive the code that reads it"},
	{"loadtest/*", nil, "a load generator that shares code with its target shares its mistakes"},
	{"tools/*", nil, "developer tools, in a module of their own"},

	{"internal/modelbench", with("ranking", "campaign", "internal/openbandit"), "trains and judges models; nothing that serves depends on it"},
	{"internal/targetbench", with("targeting", "campaign"), "asks the engine and the rule, and shares nothing with what serves"},
	{"internal/replaybench", with("auction/record", "auction", "targeting", "ranking", "campaign"), "makes auctions and replays them"},
	{"internal/targetbench/redis", with("internal/targetbench", "targeting"), "a competitor of the engine"},
	{"internal/targetbench/postgres", with("internal/targetbench", "campaign"), "lays out the tables of a market"},

	{"internal/testenv", []string{leaves, "internal/devstack", "migrations"}, "a migrated database for each test"},
}

// adapters are the names of the packages below a domain package X that speak to the outside for it. X/adapter may import X,
// what X may import, and leaves; never another adapter.
var adapters = []string{"postgres", "redis", "journal"}

// pure are the packages that do no I/O and read no clock and no global randomness: the same code runs in the server, in a
// simulator in virtual time, and in a bit-exact replay.
var pure = []string{"auction", "auction/record", "targeting", "budget", "budget/model", "ranking", "pacing", "internal/money", "internal/fault"}

// impureImports may not be imported by pure packages; "…/*" covers the package and all below it.
var impureImports = []row{
	{"net/*", nil, "network"},
	{"os/*", nil, "files, processes, environment"},
	{"io/ioutil", nil, "files"},
	{"syscall", nil, "system calls"},
	{"golang.org/x/sys/*", nil, "system calls"},
	{"crypto/rand", nil, "randomness is passed in"},
	{"log", nil, "a global logger writes"},
	{"database/*", nil, "a store comes in through a port"},
	{"github.com/jmoiron/*", nil, "a store comes in through a port"},
	{"github.com/lib/*", nil, "a store comes in through a port"},
	{"github.com/redis/*", nil, "a store comes in through a port"},
	{"github.com/gofiber/*", nil, "HTTP ends in handlers"},
	{"github.com/valyala/fasthttp/*", nil, "HTTP ends in handlers"},
}

// impureNames are the names that pure packages may not speak of, called or passed on. A deadline on a context stays lawful:
// it bounds a call through a port, and decides nothing else.
var impureNames = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
}

// seeded are the names of math/rand and math/rand/v2 that do not touch the global generator.
var seeded = map[string]bool{
	"New": true, "NewPCG": true, "NewChaCha8": true, "NewSource": true, "NewZipf": true,
	"Rand": true, "Source": true, "Source64": true, "PCG": true, "ChaCha8": true, "Zipf": true,
}

// drivers says where a library that speaks to the outside may be imported: pkg is the import, may the folders.
var drivers = []row{
	{"github.com/lib/pq/*", postgresFolders(), "Postgres is spoken in */postgres"},
	{"github.com/jmoiron/sqlx/*", postgresFolders(), "Postgres is spoken in */postgres"},
	{"database/*", append(postgresFolders(), "internal/telemetry"), "sql.ErrNoRows and its kin end in */postgres"},
	{"github.com/pressly/goose/v3/*", []string{"migrations"}, "one place applies migrations"},
	{"github.com/redis/go-redis/*", []string{"*/redis", leaves, "internal/devstack", "internal/testenv", "cmd"}, "Redis is spoken in */redis"},
	{"github.com/alicebob/miniredis/*", []string{"internal/devstack", "internal/testenv"}, "a stand-in never serves"},
	{"github.com/gofiber/*", []string{"handlers", "internal/telemetry", "cmd"}, "HTTP ends in handlers"},
	{"github.com/danielgtaylor/huma/*", []string{"handlers", "cmd"}, "HTTP ends in handlers"},
}

// sqlFolders are the only folders whose Go files may hold SQL text.
var sqlFolders = []string{"*/postgres", "internal/openbandit/postgres", "internal/torture/postgres", "internal/targetbench/postgres", "migrations", "internal/devstack", "internal/testenv"}

// folders are the top-level folders that may exist; a new one is a decision, so it is written down here.
var folders = map[string]string{
	"cmd": "the program", "handlers": "HTTP",
	"auction": "who wins", "targeting": "who may be shown what", "budget": "who can pay", "ranking": "what a view is worth", "pacing": "what is bid when",
	"campaign": "what advertisers manage", "event": "what happened", "report": "what it came to",
	"migrations": "the schema", "internal": "leaves", "loadtest": "k6", "tools": "pinned developer tools", "docs": "documents",
}

// with is values and more.
func with(more ...string) []string { return append(more, values...) }

func postgresFolders() []string {
	return []string{"*/postgres", "internal/torture/postgres", "internal/targetbench/postgres", "migrations", "internal/devstack", "internal/testenv", "cmd"}
}
