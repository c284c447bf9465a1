// Command guest is the first process of a virtual machine with a GPIO chip. It
// takes the lines of two buttons and two lamps as the board does, says what it is
// told by the buttons, and lights the lamp of the last one.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"touchmark/appliance/operator/gpio"
	"touchmark/appliance/operator/panel"
)

const (
	pins = "/dev/gpiochip0:arm=0,deny=1,green=4,red=5"
	// pause is several times what a contact may chatter for.
	pause = 100 * time.Millisecond
)

func main() {
	fmt.Println("gpio ended", run())
	select {} // a kernel without a first process stops
}

func run() error {
	if err := errors.Join(os.MkdirAll("/dev", 0o755), syscall.Mount("dev", "/dev", "devtmpfs", 0, "")); err != nil {
		return err
	}
	p, err := gpio.ParsePins(pins)
	if err != nil {
		return err
	}
	f, err := gpio.Open(p)
	if err != nil {
		return err
	}
	_, err = gpio.Open(p)
	fmt.Println("gpio busy", errors.Is(err, syscall.EBUSY))
	go wait()
	for range 4 {
		if err := pressed(f); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	if f, err = gpio.Open(p); err != nil { // the kernel has them back
		return err
	}
	return f.Close()
}

// wait lets time pass here for each line that comes.
func wait() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		<-time.After(pause)
		fmt.Println("gpio waited")
	}
}

func pressed(f *gpio.Fittings) error {
	press, err := f.Press()
	if err != nil {
		return err
	}
	arm := press.Button == panel.ArmButton
	if err := f.Light(arm, !arm); err != nil {
		return err
	}
	fmt.Println("gpio pressed", map[bool]string{true: "arm", false: "deny"}[arm], press.Held > 0)
	return nil
}
