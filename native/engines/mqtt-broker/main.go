// Command mqtt-broker is an MQTT 3.1.1 and 5 broker for the native path: one TCP listener, one user,
// retained messages and sessions kept in a file. In containers its place is taken by Mosquitto.
//
// The name comes from MQTT_USERNAME and the password from the file that MQTT_PASSWORD_FILE names, never from
// the command line, which other users of the machine can read.
package main

import (
	"crypto/subtle"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/storage/bolt"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// version is set when it is linked.
var version = "unknown"

// oneUser lets in who knows the one name and password, and lets them publish and subscribe to everything.
// The library's own list of users takes an asterisk in a password for a wildcard.
type oneUser struct {
	mqtt.HookBase
	name, password []byte
}

func (*oneUser) ID() string { return "one-user" }

func (*oneUser) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}

func (u *oneUser) OnConnectAuthenticate(_ *mqtt.Client, packet packets.Packet) bool {
	name := subtle.ConstantTimeCompare(packet.Connect.Username, u.name)
	password := subtle.ConstantTimeCompare(packet.Connect.Password, u.password)
	return name&password == 1
}

func (*oneUser) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

func main() {
	listen := flag.String("listen", "127.0.0.1:1883", "address and port to listen on")
	state := flag.String("state", "", "folder that keeps retained messages and sessions (none: in memory)")
	show := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	if *show {
		fmt.Println("mqtt-broker", version)
		return
	}
	if err := run(*listen, *state); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// credentials returns the one user's name and password.
func credentials() (name, password string, err error) {
	name = os.Getenv("MQTT_USERNAME")
	if name == "" {
		return "", "", errors.New("MQTT_USERNAME is not set")
	}
	if file := os.Getenv("MQTT_PASSWORD_FILE"); file != "" {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", "", fmt.Errorf("MQTT_PASSWORD_FILE: %w", err)
		}
		password = strings.TrimRight(string(content), "\n")
	}
	if password == "" {
		return "", "", errors.New("no MQTT password: the broker lets nobody in without one; write it into a file, " +
			"such as secrets/mqtt_password, and set MQTT_PASSWORD_FILE to that in .env")
	}
	return name, password, nil
}

func run(listen, state string) error {
	name, password, err := credentials()
	if err != nil {
		return err
	}
	// Once it serves, only errors: the library warns of every connection that just ends, and a health
	// check is one each second.
	level := new(slog.LevelVar)
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	server := mqtt.New(&mqtt.Options{Logger: logger})
	if err := server.AddHook(&oneUser{name: []byte(name), password: []byte(password)}, nil); err != nil {
		return err
	}
	if state != "" {
		if err := os.MkdirAll(state, 0o700); err != nil {
			return err
		}
		file := &bolt.Options{Path: filepath.Join(state, "mqtt.db")}
		if err := server.AddHook(new(bolt.Hook), file); err != nil {
			return fmt.Errorf("%s: %w", file.Path, err)
		}
	}
	if err := server.AddListener(listeners.NewTCP(listeners.Config{ID: "tcp", Address: listen})); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	if err := server.Serve(); err != nil {
		return err
	}
	level.Set(slog.LevelError)
	<-stop
	level.Set(slog.LevelInfo)
	return server.Close()
}
