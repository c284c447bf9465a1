package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// User is whom a process runs as.
type User struct {
	UID, GID int
	Groups   []int // besides GID
}

// errNotRoot is a change of user by somebody who cannot.
var errNotRoot = errors.New("only root can start it as another user")

// ParseUser reads NAME, of the system's users with all its groups, or
// UID:GID[,GID...], for systems that list none. It is never root.
func ParseUser(s string) (*User, error) {
	u, err := parseIDs(s)
	if _, _, ids := strings.Cut(s, ":"); !ids {
		u, err = lookUp(s)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("user %q: %w: write the name of a user, or UID:GID[,GID...]", s, err)
	case u.UID == 0:
		return nil, fmt.Errorf("user %q is root, which is who it is not to be", s)
	case os.Geteuid() != 0 && os.Geteuid() != u.UID:
		return nil, fmt.Errorf("user %q: %w", s, errNotRoot)
	}
	return u, nil
}

func lookUp(name string) (*User, error) {
	found, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	groups, err := found.GroupIds()
	if err != nil {
		return nil, err
	}
	return parseIDs(found.Uid + ":" + strings.Join(append([]string{found.Gid}, groups...), ","))
}

func parseIDs(s string) (*User, error) {
	uid, gids, _ := strings.Cut(s, ":")
	var ids []int
	for _, text := range append([]string{uid}, strings.Split(gids, ",")...) {
		id, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("%q is no id", text)
		}
		ids = append(ids, int(id))
	}
	return &User{ids[0], ids[1], ids[2:]}, nil
}

// String is the user as ParseUser reads it on any system.
func (u *User) String() string {
	s := fmt.Sprintf("%d:%d", u.UID, u.GID)
	for _, g := range u.Groups {
		s += fmt.Sprintf(",%d", g)
	}
	return s
}

// Credential is the user for a process that is started.
func (u *User) Credential() *syscall.Credential {
	c := &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
	for _, g := range u.Groups {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c
}

// become makes the process, all its threads, that user's.
func (u *User) become() error {
	if os.Geteuid() == u.UID {
		return nil
	}
	err := syscall.Setgroups(u.Groups)
	if err == nil {
		err = syscall.Setresgid(u.GID, u.GID, u.GID)
	}
	if err == nil {
		err = syscall.Setresuid(u.UID, u.UID, u.UID)
	}
	if err != nil {
		return fmt.Errorf("becoming user %d: %w", u.UID, err)
	}
	return nil
}
